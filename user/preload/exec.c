// SPDX-License-Identifier: BSD-2-Clause
/*
 * Calls by which another program begins: before them sockets are made such that it finds them
 * behind their numbers (shim_share()), if it has the shim as well. A child of vfork() runs in our
 * memory and does nothing here: all is done before vfork().
 */
#include <stdlib.h>
#include <unistd.h>
#include "shim.h"

#define EXEC(name, params, args)                                                                   \
	PUBLIC int name params                                                                     \
	{                                                                                          \
		shim_share();                                                                      \
		return real.name args;                                                             \
	}

EXEC(execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp))
EXEC(execv, (const char *path, char *const argv[]), (path, argv))
EXEC(execvp, (const char *file, char *const argv[]), (file, argv))
EXEC(execvpe, (const char *file, char *const argv[], char *const envp[]), (file, argv, envp))
EXEC(fexecve, (int fd, char *const argv[], char *const envp[]), (fd, argv, envp))
EXEC(execveat, (int dir, const char *path, char *const argv[], char *const envp[], int flags),
     (dir, path, argv, envp, flags))
EXEC(posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *fa,
      const posix_spawnattr_t *attr, char *const argv[], char *const envp[]),
     (pid, path, fa, attr, argv, envp))
EXEC(posix_spawnp,
     (pid_t * pid, const char *file, const posix_spawn_file_actions_t *fa,
      const posix_spawnattr_t *attr, char *const argv[], char *const envp[]),
     (pid, file, fa, attr, argv, envp))
EXEC(system, (const char *command), (command))

PUBLIC FILE *popen(const char *command, const char *mode)
{
	shim_share();
	return real.popen(command, mode);
}

/* ---- execl() and its kin ---- */

/* The arguments as an array on the stack: these may be called in a child of vfork(). */
#define EXECL(name, path_or_file, get_env, call)                                                   \
	PUBLIC int name(const char *path_or_file, const char *arg, ...)                            \
	{                                                                                          \
		char *const *envp = NULL;                                                          \
		size_t n = 1;                                                                      \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, arg);                                                                 \
		while (va_arg(ap, char *))                                                         \
			n++;                                                                       \
		va_end(ap);                                                                        \
		char **argv = __builtin_alloca((n + 1) * sizeof(*argv));                           \
		argv[0] = (char *)(uintptr_t)arg;                                                  \
		va_start(ap, arg);                                                                 \
		for (size_t i = 1; i <= n; i++)                                                    \
			argv[i] = va_arg(ap, char *);                                              \
		get_env;                                                                           \
		va_end(ap);                                                                        \
		shim_share();                                                                      \
		(void)envp;                                                                        \
		return call;                                                                       \
	}

EXECL(execl, path, , real.execv(path, argv))
EXECL(execlp, file, , real.execvp(file, argv))
EXECL(execle, path, envp = va_arg(ap, char *const *), real.execve(path, argv, envp))

/* ---- vfork ---- */

/*
 * vfork() returns twice, so that no function may stand around it: ours goes on in libc's as if that
 * had been called. Where this is not written, sockets that are not shared yet are not found behind
 * vfork() and exec.
 */
#if defined(__x86_64__) || defined(__aarch64__)
__attribute__((used, visibility("hidden"))) void *shim_before_vfork(void);
void *shim_before_vfork(void)
{
	static void *libc_vfork;

	if (!libc_vfork)
		libc_vfork = shim_libc("vfork");
	shim_share();
	return libc_vfork;
}

#if defined(__x86_64__)
__asm__(".text\n"
	".globl vfork, __vfork\n"
	".type vfork, @function\n"
	".type __vfork, @function\n"
	"vfork:\n"
	"__vfork:\n"
	"	endbr64\n"
	"	subq $8, %rsp\n"
	"	call shim_before_vfork\n"
	"	addq $8, %rsp\n"
	"	jmp *%rax\n"
	".size vfork, . - vfork\n");
#else
__asm__(".text\n"
	".globl vfork, __vfork\n"
	".type vfork, %function\n"
	".type __vfork, %function\n"
	"vfork:\n"
	"__vfork:\n"
	"	stp x29, x30, [sp, -16]!\n"
	"	bl shim_before_vfork\n"
	"	ldp x29, x30, [sp], 16\n"
	"	br x0\n"
	".size vfork, . - vfork\n");
#endif
#endif
