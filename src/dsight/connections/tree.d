/* Who descends from whom, for -c and -p. */

/* 12 Fork: threads are no children */
rawtp:::sched_process_fork
/args[0]->tgid != args[1]->tgid/
{
        trace(12); trace(timestamp); trace(args[0]->tgid); trace(args[1]->tgid);
}

/* 13 ProcessExit: the last thread goes */
rawtp:::sched_process_exit
/args[0]->signal->live.counter == 0/
{
        trace(13); trace(timestamp); trace(args[0]->tgid);
}
