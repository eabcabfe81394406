/*
 * The first datagram on a socket after connect(2): before it nothing was tried, as the sockets show
 * that getaddrinfo(3) connects to learn which source address a route has.
 *
 * udp_new[sock]   1 after connect(2), until a datagram is sent
 */
int udp_new[uint64_t];

syscall::connect:entry
/this->protocol == 17 && this->sock > 1/
{
        udp_new[this->sock] = 1;
}

/* 21 UdpSent, with the result: the number of octets or a negative errno */
rawtp:::sock_send_length
/args[0]->sk_protocol == 17 && udp_new[(uint64_t)args[0]] != 0 && args[0]->__sk_common.skc_dport != 0/
{
        udp_new[(uint64_t)args[0]] = 0;
        this->u_six = args[0]->__sk_common.skc_family == 10;
        this->u_from = &args[0]->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
        this->u_there = &args[0]->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];
        trace(21); trace(timestamp); trace(tid); trace((uint64_t)args[0]); trace(args[1]); trace(1); trace(1);
        trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport);
        trace(this->u_six ? *(uint64_t *)this->u_there : 0);
        trace(this->u_six ? *(uint64_t *)(this->u_there + 2)
            : ((uint64_t)args[0]->__sk_common.skc_daddr << 32 | 0xffff0000));
        trace(args[0]->__sk_common.skc_dport); trace(args[0]->__sk_common.skc_net.net->ns.inum); trace(0);
}
