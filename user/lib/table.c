// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table of handles: open files (sockets and epoll instances) by number. Like descriptors, a
 * new one gets the lowest free number; a bitmap finds it. A file lives on while a call uses it,
 * though its handle may be closed by then.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "engine.h"

#define MIN_FILES 512u /* a page */

static int grow(void)
{
	uint32_t n = eng.n_files ? eng.n_files * 2 : MIN_FILES;
	struct file **files;
	uint64_t *used;

	if (n > (uint32_t)(INT32_MAX - TANDEM_FD_BASE))
		return -EMFILE;
	/* Mapped, so that what is beyond the last handle is not touched. */
	if (eng.files)
		files = mremap(eng.files, eng.map_files * sizeof(*files), n * sizeof(*files),
			       MREMAP_MAYMOVE);
	else
		files = mmap(NULL, n * sizeof(*files), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (files == MAP_FAILED)
		return -ENOMEM;
	eng.files = files;
	eng.map_files = n;
	used = realloc(eng.used, n / 64 * sizeof(*used));
	if (!used)
		return -ENOMEM;
	eng.used = used;
	memset(used + eng.n_files / 64, 0, (n - eng.n_files) / 64 * sizeof(*used));
	eng.n_files = n;
	return 0;
}

int file_install(struct file *f)
{
	uint32_t w = eng.first_free / 64, i;

	while (w < eng.n_files / 64 && !~eng.used[w])
		w++;
	if (w == eng.n_files / 64) {
		int err = grow();

		if (err)
			return err;
	}
	i = w * 64 + (uint32_t)__builtin_ctzll(~eng.used[w]);
	eng.used[w] |= 1ull << i % 64;
	eng.files[i] = f;
	eng.first_free = i + 1;
	f->handle = TANDEM_FD_BASE + (int)i;
	f->refs++;
	return 0;
}

struct file *file_get(int handle)
{
	uint32_t i = (uint32_t)handle - TANDEM_FD_BASE;

	return i < eng.n_files ? eng.files[i] : NULL;
}

void file_remove(struct file *f)
{
	uint32_t i = (uint32_t)f->handle - TANDEM_FD_BASE;

	eng.files[i] = NULL;
	eng.used[i / 64] &= ~(1ull << i % 64);
	if (i < eng.first_free)
		eng.first_free = i;
	f->closed = true;
}

void file_put(struct file *f)
{
	if (--f->refs)
		return;
	if (f->kind == FILE_SOCK)
		sock_free(container_of(f, struct sock, f));
	else
		epoll_free(f);
}

struct file *file_next(int handle)
{
	for (uint32_t i = (uint32_t)handle - TANDEM_FD_BASE; i < eng.n_files; i++)
		if (eng.files[i])
			return eng.files[i];
	return NULL;
}

void file_table_free(void)
{
	if (eng.files)
		munmap(eng.files, eng.map_files * sizeof(*eng.files));
	free(eng.used);
	slab_release(&eng.socks);
	slab_release(&eng.items);
	eng.files = NULL;
	eng.used = NULL;
	eng.n_files = eng.map_files = eng.first_free = 0;
}
