/* 30 UnixAddress: the sockaddr_un, from user memory */
syscall::connect:entry
/this->sock > 1 && ((struct sock *)this->sock)->__sk_common.skc_family == 1/
{
        this->size = (int)arg2;
        trace(30); trace(tid); trace(this->size);
        tracemem(copyin(arg1, this->size < 0 ? 0 : this->size < 110 ? this->size : 110), 110);
}
