#!/usr/sbin/dtrace -s
/*
 * How long connect() takes, as a distribution in microseconds for each process
 * name, printed every five seconds and when it ends.
 */
#pragma D option quiet

syscall::connect:entry
{
        self->began = timestamp;
}

syscall::connect:return
/self->began/
{
        @us[execname] = quantize((timestamp - self->began) / 1000);
        self->began = 0;
}

tick-5s,
dtrace:::END
{
        printa(@us);
}
