/*
 * Which process a TCP socket belongs to: the one that connected, or that listens where it was accepted.
 *
 * Later events run wherever the packet came in, so it is remembered from where a process acts: its
 * process id plus one, as what is not there is 0.  States: 1 established, 2 SYN sent, 3 SYN received,
 * 7 closed, 10 listen.
 */

int32_t net_owner[uint64_t];			/* struct sock */
int32_t net_listener[uint64_t, uint32_t, uint16_t];	/* network namespace (struct net), address, port of a listener */

/* -1 where it is not known: the socket is older than the trace, or the kernel's own.  Of a request, its listener's. */
inline pid_t net_pid[struct sock *sk] = sk == 0 ? -1 : net_owner[(uint64_t)net_full[sk]] - 1;

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && args[1] == 7 && (args[2] == 2 || args[2] == 10) && curthread->mm != 0/
{
	net_owner[(uint64_t)args[0]] = pid + 1;
}

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && args[2] == 10 && curthread->mm != 0/
{
	net_listener[(uint64_t)args[0]->__sk_common.skc_net.net, args[0]->__sk_common.skc_rcv_saddr,
		((struct inet_sock *)args[0])->inet_sport] = pid + 1;
}

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && args[1] == 10 && args[2] == 7/
{
	net_listener[(uint64_t)args[0]->__sk_common.skc_net.net, args[0]->__sk_common.skc_rcv_saddr,
		((struct inet_sock *)args[0])->inet_sport] = 0;
}

/* The socket of a connection that comes in: of who listens at its address, or at any. */
inline int32_t net_listening[struct sock *sk, uint32_t address] =
	net_listener[(uint64_t)sk->__sk_common.skc_net.net, address, ((struct inet_sock *)sk)->inet_sport];

rawtp:::inet_sock_set_state
/args[0]->sk_protocol == 6 && args[1] == 10 && args[2] == 3/
{
	net_owner[(uint64_t)args[0]] = net_listening[args[0], args[0]->__sk_common.skc_rcv_saddr] != 0 ?
		net_listening[args[0], args[0]->__sk_common.skc_rcv_saddr] : net_listening[args[0], 0];
}

rawtp:::tcp_destroy_sock
/net_owner[(uint64_t)args[0]] != 0/
{
	net_owner[(uint64_t)args[0]] = 0;
}
