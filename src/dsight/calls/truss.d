/*
 * The system calls of some processes and of what they start; calls.feed decodes the records.
 *
 * calls.script puts tables and the machine's registers in: nothing that differs from run to run, so that it is
 * compiled once (image_cache).  What a clause records is told by its place:
 * a clause has one record (calls.script, RECORDS).  All records of one firing have the same time, this->t:
 * so the consumer knows which memory belongs to which call.
 *
 * A clause that reads user memory records nothing else, so that a bad address loses that record only.
 * Memory that is not there yet when the call begins is tried again when it ends (self->late).
 */
#pragma D option quiet

uint32_t truss_what[1024];		/* by number; of a 32-bit program's call, from 512 on (calls.narrow) */
uint32_t truss_in0[1024];
uint32_t truss_in1[1024];
uint32_t truss_in2[1024];
uint32_t truss_out0[1024];
uint32_t truss_out1[1024];
uint32_t truss_out2[1024];
int tracer;				/* our own process */
this int narrow;
this int i;				/* the place in the tables; 511, where nothing is, for numbers beyond */
uint32_t truss_other;			/* 1: calls of unknown numbers too (join.OTHER) */
int ours[pid_t];			/* whom to trace */
uint64_t named[uint64_t];		/* struct file: what it was when its name was recorded */
this uint64_t a[6];			/* types said here: else the first assignment would */
this uint64_t how;
this uint64_t p;			/* addresses in the process */
this uint64_t iov;
this uint64_t msg;
this uint64_t argv;
this uint64_t count;
this int64_t ret;

/*INIT*/

ERROR
{
	self->late = 1;
}

/* The tracer makes a process known: calls.feed.Feed.adopt.  BEGIN runs in its own context. */
rawtp:::sys_enter
/pid == tracer && args[1] == /*GETPGID*/ && args[0]->/*REG0*/ != 0/
{
	ours[(pid_t)args[0]->/*REG0*/] = 1;
}

rawtp:::sys_enter
{
	this->narrow = /*NARROW*/ ? 512 : 0;
	this->i = args[1] >= 0 && args[1] < 512 ? (int)args[1] + this->narrow : 511;
	this->w = truss_what[this->i];
	this->w = (this->w || truss_other) && ours[pid] ? this->w | truss_other : 0;
}

rawtp:::sys_enter
/this->w/
{
	this->t = timestamp;
	this->nr = this->i == 511 ? 0x10000 | (int)args[1] & 0xffff : this->i;
	this->r = *args[0];
	this->a[0] = this->narrow ? this->r./*NARROW0*/ : this->r./*REG0*/;
	this->a[1] = this->narrow ? this->r./*NARROW1*/ : this->r./*REG1*/;
	this->a[2] = this->narrow ? this->r./*NARROW2*/ : this->r./*REG2*/;
	this->a[3] = this->narrow ? this->r./*NARROW3*/ : this->r./*REG3*/;
	this->a[4] = this->narrow ? this->r./*NARROW4*/ : this->r./*REG4*/;
	this->a[5] = this->narrow ? this->r./*NARROW5*/ : this->r./*REG5*/;
	this->text = this->w >> 14 & 511;
	this->d0 = truss_in0[this->i];
	this->d1 = truss_in1[this->i];
	this->d2 = truss_in2[this->i];
	this->n = this->w >> 8 & 7;
	this->file = this->n ? fds_file[(int)this->a[this->n - 1]] : NULL;
	this->n = this->w >> 11 & 7;
	this->file2 = this->n ? fds_file[(int)this->a[this->n - 1]] : NULL;
	this->f1 = (uint64_t)this->file;
	this->f2 = (uint64_t)this->file2;
	this->iov = this->w & 8 ? this->w >> 23 & 7 : 0;
	this->msg = this->w & 0x20 ? this->w >> 23 & 7 : 0;
	this->argv = this->w & 0x80 ? this->a[(this->w >> 23 & 7) - 1 & 7] : 0;
	this->ret = (int64_t)0;
}

rawtp:::sys_exit
{
	this->nr = (int)args[0]->/*NUMBER*/;
	this->narrow = /*NARROW*/ ? 512 : 0;
	this->i = this->nr >= 0 && this->nr < 512 ? this->nr + this->narrow : 511;
	this->w = this->nr == -1 ? 1 : truss_what[this->i];
	this->w = (this->w || truss_other) && ours[pid] ? this->w | truss_other : 0;
}

rawtp:::sys_exit
/this->w/
{
	this->t = timestamp;
	this->nr = this->nr == -1 ? -1 : this->i == 511 ? 0x10000 | this->nr & 0xffff : this->i;
	this->ret = args[1];
	this->r = *args[0];
	this->a[0] = this->narrow ? this->r./*NARROW0*/ : this->r./*RET0*/;
	this->a[1] = this->narrow ? this->r./*NARROW1*/ : this->r./*REG1*/;
	this->a[2] = this->narrow ? this->r./*NARROW2*/ : this->r./*REG2*/;
	this->a[3] = this->narrow ? this->r./*NARROW3*/ : this->r./*REG3*/;
	this->a[4] = this->narrow ? this->r./*NARROW4*/ : this->r./*REG4*/;
	this->a[5] = this->narrow ? this->r./*NARROW5*/ : this->r./*REG5*/;
	this->late = self->late;
	this->good = this->nr >= 0 && this->ret >= 0 && this->ret < 0x7fffffffffff;
	this->text = this->late ? this->w >> 14 & 511 : 0;
	this->d0 = this->good ? truss_out0[this->i] : 0;
	this->d1 = this->good ? truss_out1[this->i] : 0;
	this->d2 = this->good ? truss_out2[this->i] : 0;
	this->d0 = this->late && !this->d0 ? truss_in0[this->i] : this->d0;
	this->d1 = this->late && !this->d1 ? truss_in1[this->i] : this->d1;
	this->d2 = this->late && !this->d2 ? truss_in2[this->i] : this->d2;
	this->file = this->good && this->w & 2 ? fds_file[(int)this->ret] : NULL;
	this->file2 = (struct file *)NULL;
	this->f1 = (uint64_t)this->file;
	this->iov = this->good && this->w & 0x18 ? this->w >> 23 & 7 : 0;
	this->iov = this->iov && (this->w & 0x10 || this->late) ? this->iov : 0;
	this->msg = this->good && this->w & 0x60 ? this->w >> 23 & 7 : 0;
	this->msg = this->msg && (this->w & 0x40 || this->late) ? this->msg : 0;
	this->argv = 0;
}

rawtp:::sys_exit
/this->w && this->late/
{
	self->late = 0;
}

/*FILES*/
/*TEXTS*/
/*MEMORY*/
/*VECTORS*/
/*ARGV*/

/* Call */
rawtp:::sys_enter
/this->w/
{
	trace(this->t); trace(tid); trace(pid); trace(this->nr);
	trace(this->a[0]); trace(this->a[1]); trace(this->a[2]); trace(this->a[3]); trace(this->a[4]); trace(this->a[5]);
	trace(this->f1); trace(this->f2);
}

/* Return */
rawtp:::sys_exit
/this->w/
{
	trace(this->t); trace(tid); trace(pid); trace(this->nr);
	trace(this->ret); trace(this->a[0]); trace(this->a[1]); trace(this->a[2]); trace(this->f1);
}

/* Whatever failed while it returned is over. */
rawtp:::sys_exit
/this->w && self->late/
{
	self->late = 0;
}

/*EVENTS*/
