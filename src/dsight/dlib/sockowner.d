/*
 * Which process a socket other than TCP's belongs to: the one that last sent or received by it.  Remembered from
 * sock_send_length and sock_recv_length (Linux 6.4), which run in that process; with the inode of the socket's
 * file, as the memory of a socket that was closed is soon another's.
 */

uint64_t sock_owner[uint64_t];		/* struct sock: inode << 32 | process id */

/* Not one of the kernel's own, such as those that ICMP and resets are sent by. */
inline int sock_of_user[struct sock *sk] = sk->sk_socket != NULL && sk->sk_socket->file != NULL;
inline uint64_t sock_inode[struct sock *sk] = (uint32_t)sk->sk_socket->file->f_inode->i_ino;

inline pid_t sock_owned[uint64_t kept, uint64_t inode, pid_t otherwise] =
	kept >> 32 == inode ? (pid_t)(kept & 0xffffffff) : otherwise;
/* `otherwise` where nobody has been seen using it; -1 for the kernel's own. */
inline pid_t sock_pid[struct sock *sk, pid_t otherwise] =
	sock_of_user[sk] ? sock_owned[sock_owner[(uint64_t)sk], sock_inode[sk], otherwise] : -1;

/* Who waits in recvmsg(2): the first to be woken, -1 for none, or one that waits in another way.  Of waiters only
   such a thread is exclusive (WQ_FLAG_EXCLUSIVE, 1) and has itself as private (include/linux/wait.h). */
inline struct wait_queue_entry *sock_wait[struct list_head *l] =
	(struct wait_queue_entry *)((uintptr_t)l - offsetof(struct wait_queue_entry, entry));
inline pid_t sock_waiting[struct list_head *l, struct list_head *head] =
	l != head && (sock_wait[l]->flags & 1) && sock_wait[l]->private != NULL ?
	((struct task_struct *)sock_wait[l]->private)->tgid : -1;
inline pid_t sock_waiter[struct sock *sk] =
	sk->sk_wq == NULL ? -1 : sock_waiting[sk->sk_wq->wait.head.next, &sk->sk_wq->wait.head];

rawtp:::sock_send_length, rawtp:::sock_recv_length
/args[0]->sk_protocol != 6 && (args[0]->__sk_common.skc_family == 2 || args[0]->__sk_common.skc_family == 10) &&
	sock_of_user[args[0]]/
{
	sock_owner[(uint64_t)args[0]] = sock_inode[args[0]] << 32 | pid;
}
