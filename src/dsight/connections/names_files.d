/* 64 InFiles: the name stands in /etc/hosts; glibc's own modules, from 2.34 on in libc itself.  1: NSS_STATUS_SUCCESS */
FILES
/self->calls != 0 && (int)arg1 == 1/
{
        trace(64); trace(tid);
}
