/* Who uses a TCP socket; calls that send and receive are told of since Linux 6.4. */
rawtp:::sock_send_length, rawtp:::sock_recv_length
/args[0]->sk_protocol == 6 && snoop_user[(uint64_t)args[0]] != pid/
{
	snoop_user[(uint64_t)args[0]] = pid;
}

rawtp:::tcp_destroy_sock
/snoop_user[(uint64_t)args[0]] != 0/
{
	snoop_user[(uint64_t)args[0]] = 0;
}
