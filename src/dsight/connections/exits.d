/* 13 ProcessExit: the last thread goes */
rawtp:::sched_process_exit
/args[0]->signal->live.counter == 0/
{
        trace(13); trace(timestamp); trace(args[0]->tgid);
}
