// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table of descriptors, and what stands behind its entries. Reading takes no lock and is safe
 * against anything: chunks are never freed. Like the kernel, the shim does not protect a
 * program that closes a descriptor in one thread and uses it in another from its own confusion.
 */
#include <pthread.h>
#include <stdlib.h>
#include "shim.h"

static entry zeros[FD_CHUNK];
entry *_Atomic fd_chunks[FD_CHUNKS] = {[0 ... FD_CHUNKS - 1] = zeros};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- descriptors ---- */

static entry *chunk_make(unsigned c)
{
	entry *p;

	pthread_mutex_lock(&lock);
	p = fd_chunks[c];
	if (p == zeros) {
		p = calloc(FD_CHUNK, sizeof(*p));
		if (p)
			fd_chunks[c] = p;
	}
	pthread_mutex_unlock(&lock);
	return p;
}

int fd_set_entry(int fd, int e)
{
	unsigned c = (unsigned)fd / FD_CHUNK;
	entry *p;

	if (c >= FD_CHUNKS) {
		errno = EMFILE;
		return e ? -1 : 0;
	}
	p = fd_chunks[c];
	if (p == zeros) {
		if (!e)
			return 0;
		p = chunk_make(c);
		if (!p)
			return -1;
	}
	p[(unsigned)fd % FD_CHUNK] = e;
	return 0;
}

int fd_next(int fd, int last)
{
	while (fd >= 0 && fd <= last && (unsigned)fd / FD_CHUNK < FD_CHUNKS) {
		if (fd_chunks[(unsigned)fd / FD_CHUNK] == zeros) {
			fd = (int)(((unsigned)fd / FD_CHUNK + 1) * FD_CHUNK);
			continue;
		}
		if (fd_get(fd))
			return fd;
		fd++;
	}
	return -1;
}

/* ---- growing arrays whose elements never move ---- */

#define VEC_CHUNK 256u
#define VEC_CHUNKS 65536u

struct vec {
	void *_Atomic *chunks;
	size_t size;
};

static void *vec_at(struct vec *v, unsigned i)
{
	void *p;

	if (i / VEC_CHUNK >= VEC_CHUNKS)
		return NULL;
	p = v->chunks[i / VEC_CHUNK];
	if (!p) {
		pthread_mutex_lock(&lock);
		p = v->chunks[i / VEC_CHUNK];
		if (!p) {
			p = calloc(VEC_CHUNK, v->size);
			v->chunks[i / VEC_CHUNK] = p;
		}
		pthread_mutex_unlock(&lock);
	}
	return p ? (char *)p + i % VEC_CHUNK * v->size : NULL;
}

static void *_Atomic ext_chunks[VEC_CHUNKS];
static struct vec exts = {ext_chunks, sizeof(struct ext)};
static void *_Atomic ep_chunks[VEC_CHUNKS];
static struct vec eps = {ep_chunks, sizeof(struct ep)};
static pthread_mutex_t ep_free_lock = PTHREAD_MUTEX_INITIALIZER;
static int ep_free, ep_last; /* head of the free ones, the highest number given so far */

struct ext *ext_get(int handle)
{
	return vec_at(&exts, (unsigned)handle - TANDEM_FD_BASE);
}

struct ep *ep_get(int e)
{
	return vec_at(&eps, (unsigned)e);
}

int ep_new(void)
{
	struct ep *p;
	int e;

	pthread_mutex_lock(&ep_free_lock);
	e = ep_free ? ep_free : ep_last + 1;
	p = ep_get(e);
	if (!p) {
		e = -1;
		errno = ENOMEM;
	} else if (ep_free) {
		ep_free = p->next_free;
	} else {
		ep_last = e;
	}
	pthread_mutex_unlock(&ep_free_lock);
	if (p) {
		p->handle = 0;
		p->waiting = 0;
		p->kicked = false;
		p->n_kernel = 0;
		p->refs = 1;
	}
	return e;
}

static void ep_unref(int e)
{
	struct ep *p = ep_get(e);

	if (--p->refs)
		return;
	if (p->handle)
		tandem_close(p->handle);
	pthread_mutex_lock(&ep_free_lock);
	p->next_free = ep_free;
	ep_free = e;
	pthread_mutex_unlock(&ep_free_lock);
}

void ref_entry(int e)
{
	if (is_sock(e))
		ext_get(e)->refs++;
	else if (is_epoll(e))
		ep_get(e)->refs++;
}

void unref_entry(int e)
{
	if (is_epoll(e))
		ep_unref(e);
	else if (is_sock(e) && !--ext_get(e)->refs) {
		tandem_close(e);
		v6_end(e);
	}
}

/* ---- children ---- */

void fork_lock(pthread_mutex_t *m, enum fork_stage st)
{
	if (st == FORK_PREPARE)
		pthread_mutex_lock(m);
	else if (st == FORK_PARENT)
		pthread_mutex_unlock(m);
	else
		pthread_mutex_init(m, NULL);
}

void table_fork(enum fork_stage st)
{
	fork_lock(&ep_free_lock, st);
	fork_lock(&lock, st);
	if (st != FORK_CHILD)
		return;
	/* The engine's own are closed; the program's stay what they are. */
	for (int fd = fd_next(0, INT32_MAX); fd >= 0; fd = fd_next(fd + 1, INT32_MAX)) {
		int e = fd_get(fd);

		if (is_sock(e) && ext_get(e)->udp)
			fd_set_entry(fd, FD_UDP);
		else if (is_epoll(e))
			ep_get(e)->waiting = 0;
		else if (e == FD_PRIVATE && fd != shim_placeholder)
			fd_set_entry(fd, 0);
	}
	for (int fd = fd_next(0, INT32_MAX); fd >= 0; fd = fd_next(fd + 1, INT32_MAX))
		if (is_sock(fd_get(fd)) && ext_get(fd_get(fd))->kernel_fd1)
			fd_set_entry(ext_get(fd_get(fd))->kernel_fd1 - 1, FD_PRIVATE);
}
