#!/usr/sbin/dtrace -qs
/*
 * Waits for the first TCP connection to a port, says who asked for it, and ends:
 *
 *      first-port.d 9300
 */
tcp:::connect-request
/args[4]->tcp_dport == $1/
{
        printf("%s, process %d of %d, user %d, connects to %s:%d\n",
            execname, pid, ppid, uid, args[2]->ip_daddr, args[4]->tcp_dport);
        exit(0);
}
