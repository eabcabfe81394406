/* Who descends from whom, for -c and -p; the array tree is kernel_filter.py's. */

/* 12 Fork: threads are no children */
rawtp:::sched_process_fork
/tree[args[0]->tgid] != 0 && args[0]->tgid != args[1]->tgid/
{
        tree[args[1]->tgid] = 1;
        trace(12); trace(timestamp); trace(args[0]->tgid); trace(args[1]->tgid);
}

/* 13 ProcessExit: the last thread goes */
rawtp:::sched_process_exit
/tree[args[0]->tgid] != 0 && args[0]->signal->live.counter == 0/
{
        tree[args[0]->tgid] = 0;
        trace(13); trace(timestamp); trace(args[0]->tgid);
}
