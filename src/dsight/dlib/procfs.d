/*
 * psinfo_t and lwpsinfo_t: a process and a thread, as curpsinfo, curlwpsinfo and the arguments of the proc
 * and sched providers show them.  Both are made of the thread's struct task_struct.
 *
 * Linux has no tasks, projects, resource pools and zones of other systems' kind: taskid, projid and poolid
 * are 0, zoneid is the number of the PID namespace, as lsns(8) shows it.
 */

typedef struct timestruc {
	time_t tv_sec;
	long tv_nsec;
} timestruc_t;

typedef struct psinfo {
	int pr_nlwp;			/* threads */
	pid_t pr_pid;
	pid_t pr_ppid;
	pid_t pr_pgid;
	pid_t pr_sid;
	uid_t pr_uid;
	uid_t pr_euid;
	gid_t pr_gid;
	gid_t pr_egid;
	uintptr_t pr_addr;		/* struct task_struct of the first thread */
	dev_t pr_ttydev;		/* controlling terminal, PRNODEV for none */
	timestruc_t pr_start;		/* since the epoch */
	uint64_t pr_size;		/* address space, KiB */
	string pr_fname;		/* name of the process: up to 15 characters */
	string pr_psargs;
	uintptr_t pr_argv;		/* user addresses where the arguments' ... */
	uintptr_t pr_envp;		/* ... and the environment's strings begin */
	char pr_dmodel;			/* PR_MODEL_ILP32 or PR_MODEL_LP64 */
	taskid_t pr_taskid;
	projid_t pr_projid;
	poolid_t pr_poolid;
	zoneid_t pr_zoneid;
} psinfo_t;

typedef struct lwpsinfo {
	int pr_flag;			/* PR_STOPPED, PR_ISSYS, ... */
	id_t pr_lwpid;
	uintptr_t pr_addr;		/* struct task_struct */
	uintptr_t pr_wchan;		/* not told on Linux: 0 */
	char pr_stype;
	char pr_state;			/* SSLEEP, SRUN, ... */
	char pr_sname;			/* S sleeping, R runnable, O on a CPU, T stopped, Z ended, I made */
	int pr_nice;
	short pr_syscall;		/* not told on Linux */
	int pr_pri;			/* the kernel's: 0 is the highest */
	string pr_clname;		/* scheduling class, as in ps -o cls */
	processorid_t pr_onpro;		/* CPU it runs or ran on last */
	processorid_t pr_bindpro;	/* the only CPU it may run on, PBIND_NONE for several */
	psetid_t pr_bindpset;
} lwpsinfo_t;

inline dev_t PRNODEV = (dev_t)-1;
inline char PR_MODEL_ILP32 = 1;
inline char PR_MODEL_LP64 = 2;
inline int PR_STOPPED = 0x1;
inline int PR_ISTOP = 0x2;
inline int PR_DSTOP = 0x4;
inline int PR_STEP = 0x8;
inline int PR_ASLEEP = 0x10;
inline int PR_PCINVAL = 0x20;
inline int PR_ASLWP = 0x40;
inline int PR_AGENT = 0x80;
inline int PR_ISSYS = 0x1000;
inline char SSLEEP = 1;
inline char SRUN = 2;
inline char SZOMB = 3;
inline char SSTOP = 4;
inline char SIDL = 5;
inline char SONPROC = 6;
inline processorid_t PBIND_NONE = -1;
inline psetid_t PS_NONE = -1;

/* Arguments are the process's own memory: only the process that runs shows them. */
inline string task_args[struct task_struct *T] =
	T->mm != NULL && T->mm == curthread->mm ? execargs : stringof(T->group_leader->comm);

/* include/linux/sched.h: __TASK_STOPPED 4, __TASK_TRACED 8, TASK_NEW 0x800 */
inline char task_state[struct task_struct *T] =
	T->exit_state != 0 ? SZOMB : T->__state & 0xc ? SSTOP : T->__state & 0x800 ? SIDL :
	T->on_cpu ? SONPROC : T->__state == 0 ? SRUN : SSLEEP;

/* The address of a struct task_struct, as something translated to the time it began. */
struct task_began { struct task_struct task; };

translator timestruc_t < struct task_began *B > {
	tv_sec = (walltimestamp - timestamp + B->task.start_time) / 1000000000;
	tv_nsec = (walltimestamp - timestamp + B->task.start_time) % 1000000000;
};

translator psinfo_t < struct task_struct *T > {
	pr_nlwp = T->signal->nr_threads;
	pr_pid = T->tgid;
	pr_ppid = T->real_parent->tgid;
	pr_pgid = T->signal->pids[2]->numbers[0].nr;	/* PIDTYPE_PGID */
	pr_sid = T->signal->pids[3]->numbers[0].nr;	/* PIDTYPE_SID */
	pr_uid = T->real_cred->uid.val;
	pr_euid = T->real_cred->euid.val;
	pr_gid = T->real_cred->gid.val;
	pr_egid = T->real_cred->egid.val;
	pr_addr = (uintptr_t)T->group_leader;
	pr_ttydev = T->signal->tty == NULL ? PRNODEV :
		(dev_t)(T->signal->tty->driver->major << 20 | (T->signal->tty->driver->minor_start + T->signal->tty->index));
	pr_start = xlate < timestruc_t > ((struct task_began *)T->group_leader);
	pr_size = T->mm == NULL ? 0 : T->mm->total_vm * 4;
	pr_fname = stringof(T->group_leader->comm);
	pr_psargs = task_args[T];
	pr_argv = T->mm == NULL ? 0 : T->mm->arg_start;
	pr_envp = T->mm == NULL ? 0 : T->mm->env_start;
	pr_dmodel = T->mm != NULL && T->mm->task_size <= 0x100000000 ? PR_MODEL_ILP32 : PR_MODEL_LP64;
	pr_taskid = 0;
	pr_projid = 0;
	pr_poolid = 0;
	pr_zoneid = T->thread_pid->numbers[T->thread_pid->level].ns->ns.inum;
};

translator lwpsinfo_t < struct task_struct *T > {
	pr_flag = T->__state & 0xc ? PR_STOPPED : 0;
	pr_lwpid = T->pid;
	pr_addr = (uintptr_t)T;
	pr_wchan = 0;
	pr_stype = 0;
	pr_state = task_state[T];
	pr_sname = T->exit_state != 0 ? 'Z' : T->__state & 0xc ? 'T' : T->__state & 0x800 ? 'I' :
		T->on_cpu ? 'O' : T->__state == 0 ? 'R' : 'S';
	pr_nice = T->static_prio - 120;
	pr_pri = T->prio;
	pr_clname = T->policy == 0 ? "TS" : T->policy == 1 ? "FF" : T->policy == 2 ? "RR" : T->policy == 3 ? "B" :
		T->policy == 5 ? "IDL" : T->policy == 6 ? "DLN" : "?";
	pr_onpro = T->thread_info.cpu;
	pr_bindpro = T->nr_cpus_allowed == 1 ? T->thread_info.cpu : PBIND_NONE;
	pr_bindpset = PS_NONE;
};
