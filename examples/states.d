#!/usr/sbin/dtrace -qs
/*
 * Each change of state of each TCP socket, for ten seconds.
 */
tcp:::state-change
{
        printf("%-16s %5d -> %-39s %5d  %s -> %s\n", execname,
            args[3]->tcps_lport, args[3]->tcps_raddr, args[3]->tcps_rport,
            tcp_state_string[args[5]->tcps_state],
            tcp_state_string[args[3]->tcps_state]);
}

tick-10s
{
        exit(0);
}
