/*
 * UDP; connections/datagrams.py decodes it.  connect(2) is told by connect.d and tcp.d.
 *
 * Addresses are the halves of a struct in6_addr as they lie in memory, IPv4 mapped (::ffff:a.b.c.d).
 */

/* 20 UdpError: an ICMP message came for a connected socket */
rawtp:::inet_sk_error_report
/args[0]->sk_protocol == 17 && args[0]->sk_err != 0 && args[0]->__sk_common.skc_dport != 0/
{
        trace(20); trace(timestamp); trace((uint64_t)args[0]); trace(args[0]->sk_err);
        trace(args[0]->__sk_common.skc_family);
        trace(args[0]->__sk_common.skc_rcv_saddr); trace(args[0]->__sk_common.skc_daddr);
        tracemem(&args[0]->__sk_common.skc_v6_rcv_saddr, 16); tracemem(&args[0]->__sk_common.skc_v6_daddr, 16);
        trace(((struct inet_sock *)args[0])->inet_sport); trace(args[0]->__sk_common.skc_dport);
}
