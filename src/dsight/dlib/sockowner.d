/*
 * Which process a socket other than TCP's belongs to: the one that last sent or received by it.  Remembered from
 * sock_send_length and sock_recv_length (Linux 6.4), which run in that process; with the inode of the socket's
 * file, as the memory of a socket that was closed is soon another's.
 */

uint64_t sock_owner[uint64_t];		/* struct sock: inode << 32 | process id */

/* The kernel's own have no file, such as those that ICMP and resets are sent by. */
inline struct file *sock_opened[struct socket *s] = s == NULL ? NULL : s->file;
inline struct file *sock_file[struct sock *sk] = sock_opened[sk->sk_socket];
inline uint64_t sock_inode[struct file *f] = (uint32_t)f->f_inode->i_ino;

inline pid_t sock_owned[uint64_t kept, uint64_t inode] = kept >> 32 == inode ? (pid_t)(kept & 0xffffffff) : 0;
inline pid_t sock_owned_by[struct sock *sk, struct file *f] =
	f == NULL ? -1 : sock_owned[sock_owner[(uint64_t)sk], sock_inode[f]];
/* 0 where nobody has been seen using it; -1 for the kernel's own. */
inline pid_t sock_pid[struct sock *sk] = sock_owned_by[sk, sock_file[sk]];

/* Who waits in recvmsg(2): the first to be woken, -1 for none, or one that waits in another way.  Of waiters only
   such a thread is exclusive (WQ_FLAG_EXCLUSIVE, 1) and has itself as private (include/linux/wait.h). */
inline struct wait_queue_entry *sock_wait[struct list_head *l] =
	(struct wait_queue_entry *)((uintptr_t)l - offsetof(struct wait_queue_entry, entry));
inline pid_t sock_waiting[struct list_head *l, struct list_head *head] =
	l != head && (sock_wait[l]->flags & 1) && sock_wait[l]->private != NULL ?
	((struct task_struct *)sock_wait[l]->private)->tgid : -1;
inline pid_t sock_waiter[struct socket_wq *wq] =
	wq == NULL ? -1 : sock_waiting[wq->wait.head.next, &wq->wait.head];

/* The sender and the receiver of a packet, as it passes: a socket not seen before sends in the process that runs. */
inline pid_t sock_known[pid_t owner] = owner == 0 ? pid : owner;
inline pid_t sock_sender[struct sock *sk] = sock_known[sock_pid[sk]];
inline pid_t sock_gets[pid_t owner, struct sock *sk] = owner == 0 ? sock_waiter[sk->sk_wq] : owner;
inline pid_t sock_receiver[struct sock *sk] = sock_gets[sock_pid[sk], sk];

inline int sock_is_inet[uint16_t family] = family == 2 || family == 10;
inline int sock_is_new[struct sock *sk, struct file *f] =
	f != NULL && sock_owner[(uint64_t)sk] != (sock_inode[f] << 32 | pid);

rawtp:::sock_send_length, rawtp:::sock_recv_length
/sock_is_inet[args[0]->__sk_common.skc_family] && args[0]->sk_protocol != 6 &&
	sock_is_new[args[0], sock_file[args[0]]]/
{
	sock_owner[(uint64_t)args[0]] = sock_inode[sock_file[args[0]]] << 32 | pid;
}
