// SPDX-License-Identifier: BSD-2-Clause
/* memfd.h */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "memfd.h"

int memfd_sealed(const char *name, uint64_t size, unsigned more_seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | more_seals) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int memfd_check_size(int fd, uint64_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_size < 0 || (uint64_t)st.st_size != size ? -EINVAL : 0;
}

int memfd_check(int fd, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return -errno;
	return seals & F_SEAL_SHRINK ? memfd_check_size(fd, size) : -EINVAL;
}
