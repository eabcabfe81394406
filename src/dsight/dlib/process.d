/* Built-in variables that are in the kernel's own structures. */

inline pid_t ppid = curthread->real_parent->tgid;

/* Time on CPU; the kernel brings it up to date at each tick and switch, not in between. */
inline uint64_t vtimestamp = curthread->se.sum_exec_runtime;

/* Linux has no zones. */
inline string zonename = "global";
