#!/usr/sbin/dtrace -qs
/*
 * What became of the TCP connections that this machine asked for or was asked
 * for, one line each.  The address shown is always the other side's.
 */
tcp:::connect-established
{
        printf("connected  %s:%d\n", args[3]->tcps_raddr, args[3]->tcps_rport);
}

tcp:::connect-refused
{
        printf("refused    %s:%d\n", args[3]->tcps_raddr, args[3]->tcps_rport);
}

tcp:::accept-established
{
        printf("accepted   %s:%d on port %d\n", args[3]->tcps_raddr,
            args[3]->tcps_rport, args[3]->tcps_lport);
}

/* args[3] is NULL here: no socket of ours was concerned. */
tcp:::accept-refused
{
        printf("turned away %s: nothing listens on port %d\n",
            args[2]->ip_daddr, args[4]->tcp_sport);
}
