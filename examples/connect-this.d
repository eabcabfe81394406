#!/usr/sbin/dtrace -qs
/*
 * Who calls connect() to an IPv4 address, and where to: connect.d with
 * clause-local variables, safe when two processes connect at once, and a
 * predicate that leaves out UNIX sockets and IPv6.
 */
syscall::connect:entry
/arg2 == sizeof (struct sockaddr_in)/
{
        this->to = (struct sockaddr_in *) copyin(arg1, sizeof (struct sockaddr_in));
        this->a = (uint8_t *) &this->to->sin_addr.s_addr;

        printf("%s[%d]: %d.%d.%d.%d:%d\n", execname, pid,
            this->a[0], this->a[1], this->a[2], this->a[3],
            ntohs(this->to->sin_port));
}
