#!/usr/sbin/dtrace -qs
/*
 * What one process connects to, and what each call came to:
 *
 *      connect-target.d -c 'curl http://db1:9300/'
 *      connect-target.d -p 1234
 *
 * EINPROGRESS (115) only says that a non-blocking socket is on its way.
 */
syscall::connect:entry
/pid == $target/
{
        self->fd = arg0;
        self->began = timestamp;
}

syscall::connect:return
/self->began/
{
        printf("%s: connect(%d) = %d, errno %d, %d us\n", execname,
            self->fd, (int) arg0, errno, (timestamp - self->began) / 1000);
        self->fd = 0;
        self->began = 0;
}
