// SPDX-License-Identifier: BSD-2-Clause
/*
 * When the daemon is dead, connections go on: packet memory, rings and the XDP program outlive it.
 * That ends when somebody clears away what it left, `tandem detach` or the next daemon under its
 * name: a queue of an interface has room for one packet memory only, so this one has to be let
 * go of. Both remove the control socket first, and while the daemon is dead we look for that.
 *
 * Then connections end as by the peer's reset, which the peer is sent one of, too; accept(),
 * listen() and connect() fail with ENETDOWN; UDP sockets go on as the kernel's. The stack stays,
 * for what the program has still to read and to be told.
 */
#include <fcntl.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "engine.h"
#include "udp.h"

#define LOOK_MS 100u
#define RST_BATCH 32u /* fewer than a port has packets for */
#define OUTPUT_TRIES 64

static bool left_alone(void)
{
	struct stat st;

	/* Without the directory's descriptor there is no telling. */
	return eng.run_dir < 0 ||
	       (!fstatat(eng.run_dir, CTL_SOCKET_NAME, &st, AT_SYMLINK_NOFOLLOW) &&
		st.st_ino == eng.ctl_ino);
}

static void reset_all(struct mtime now)
{
	uint32_t it = 0, conn, n = 0;

	while (stack_next_conn(eng.stack, &it, &conn)) {
		tcp_cut(eng.stack, conn, now);
		if (++n % RST_BATCH == 0)
			eng_output(now);
	}
	for (int i = 0; i < OUTPUT_TRIES && (!i || port_tx_pending(eng.port)); i++)
		eng_output(now);
}

static void tell_listeners(void)
{
	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next)
		waitq_notify(&sk->f.wq, EPOLLIN | EPOLLRDNORM | EPOLLERR | EPOLLHUP);
}

void heir_look(struct mtime now)
{
	if (mtime_before(now, eng.heir_next))
		return;
	eng.heir_next = mtime_add_ms(now, LOOK_MS);
	if (left_alone())
		return;
	eng.cut = true;
	reset_all(now);
	port_cut(eng.port);
	for (uint32_t i = 0; i < eng.n_ifs; i++) {
		if (eng.gso_fd[i] >= 0)
			close(eng.gso_fd[i]);
		eng.gso_fd[i] = -1;
	}
	dest_forget();
	tell_listeners();
}

struct mtime heir_deadline(void)
{
	return eng.cut ? MTIME_NEVER : eng.heir_next;
}
