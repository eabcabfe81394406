/* cpuinfo_t: the CPU a probe fired on, as curcpu and the sched provider show it. */

typedef struct cpuinfo {
	processorid_t cpu_id;
	psetid_t cpu_pset;
	chipid_t cpu_chip;
	lgrp_id_t cpu_lgrp;
} cpuinfo_t;

/* Processor sets, chips and locality groups are not told yet: their members have no translation. */
translator cpuinfo_t < processorid_t cpu_number > {
	cpu_id = cpu_number;
};
