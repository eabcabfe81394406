#!/usr/sbin/dtrace -s
/*
 * System calls by name and process, for one second.
 */
#pragma D option quiet

syscall:::entry
{
        @[probefunc, execname] = count();
}

tick-1s
{
        exit(0);
}
