/* Fork */
rawtp:::sched_process_fork
/ours[args[0]->tgid]/
{
	ours[args[1]->tgid] = 1;
	trace(timestamp); trace(args[0]->pid); trace(args[0]->tgid); trace(args[1]->pid); trace(args[1]->tgid);
	trace(stringof(args[1]->comm));
}

/* Exec: the thread that called has the process's id now; what it was called before */
rawtp:::sched_process_exec
/ours[args[0]->tgid]/
{
	trace(timestamp); trace(args[0]->pid); trace(args[0]->tgid); trace(args[1]); trace(stringof(args[0]->comm));
	trace((uint32_t)(args[0]->mm->task_size <= 0x100000000));
}

/* Args: strings ended by NULs */
rawtp:::sched_process_exec
/ours[args[0]->tgid]/
{
	this->size = (uint32_t)(args[0]->mm->arg_end - args[0]->mm->arg_start);
	trace(args[0]->pid); trace(this->size);
	tracemem(copyin(args[0]->mm->arg_start, this->size < 1024 ? this->size : 1024), 1024);
}

/* Exit: of a thread; of the last one, its process */
rawtp:::sched_process_exit
/ours[args[0]->tgid]/
{
	this->last = args[0]->signal->live.counter == 0;
	trace(timestamp); trace(args[0]->pid); trace(args[0]->tgid); trace((uint32_t)this->last);
	/* SIGNAL_GROUP_EXIT, include/linux/sched/signal.h; else the first thread's own status is the process's */
	trace(!this->last ? args[0]->exit_code : args[0]->signal->flags & 4 ? args[0]->signal->group_exit_code :
	    args[0]->group_leader->exit_code);
}

rawtp:::sched_process_exit
/ours[args[0]->tgid] && args[0]->signal->live.counter == 0/
{
	ours[args[0]->tgid] = 0;
}

/* Fatal: a signal that ends its process.  The kernel marks the process, then wakes its threads by SIGKILL, which is all
   that signal_deliver shows; SIGNAL_GROUP_EXIT, include/linux/sched/signal.h */
rawtp:::signal_generate
/ours[args[2]->tgid] && args[2]->signal->flags & 4 && args[2]->signal->group_exit_code == args[0]/
{
	trace(args[2]->tgid); trace(args[0]);
	this->info = (uint64_t)args[1] > 1;
	trace(this->info ? args[1]->si_code : (uint64_t)args[1] ? 128 : 0);
	trace(this->info ? args[1]->_sifields._kill._pid : (uint64_t)args[1] ? -1 : pid);
	trace(this->info ? args[1]->_sifields._kill._uid : uid);
}

/* Signal: delivered, to a handler (1 when it is default) */
rawtp:::signal_deliver
/ours[pid]/
{
	trace(timestamp); trace(tid); trace(pid); trace(args[0]);
	trace((uint64_t)args[2]->sa.sa_handler);
	/* SEND_SIG_NOINFO is 0, SEND_SIG_PRIV 1, else a siginfo */
	this->info = (uint64_t)args[1] > 1;
	trace(this->info ? args[1]->si_code : (uint64_t)args[1] ? 128 : 0);
	trace(this->info ? args[1]->_sifields._kill._pid : -1);
	trace(this->info ? args[1]->_sifields._kill._uid : 0);
	trace(this->info ? args[1]->_sifields._sigchld._status : 0);
	trace(this->info ? (uint64_t)args[1]->_sifields._sigfault._addr : 0);
}
