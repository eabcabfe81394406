#!/usr/sbin/dtrace -s
/*
 * TCP connections asked for, by process name and destination; the busiest last.
 * Ends with Ctrl-C.
 */
#pragma D option quiet

dtrace:::BEGIN
{
        printf("Counting TCP connections. Ctrl-C ends.\n");
}

tcp:::connect-request
{
        @asked[execname, args[2]->ip_daddr, args[4]->tcp_dport] = count();
}

dtrace:::END
{
        printf("%-16s %-39s %5s %8s\n", "PROCESS", "ADDRESS", "PORT", "COUNT");
        printa("%-16s %-39s %5d %@8d\n", @asked);
}
