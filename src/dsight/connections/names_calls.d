/*
 * What a process asks its C library: getaddrinfo(3), gethostbyname_r(3), gethostbyname2_r(3), which
 * the others of their family call.  connections/lookup_events.py decodes it; names.py fills in ENTRIES,
 * the probes at their entries, and RETURNS, LIBC, the file; the identity stands where WHO does.
 *
 * self->calls    how deep in them the thread is: a call within a call is no lookup of its own
 * self->node     the name's address, 0 outside
 * self->api      which: 1 getaddrinfo, 2 gethostbyname_r, 3 gethostbyname2_r
 * self->named    whether it could be read on the way in: else it is in memory on the way out
 * self->a1 .. 6  the arguments after it
 *
 * Structs are those of 64 bits: struct addrinfo is 48 bytes, ai_addr at 24 and ai_next at 40; a struct
 * hostent has h_addrtype at 16 and h_addr_list at 24 (netdb.h; musl has the same).
 */
ENTRIES
{
        self->calls++;
}

ENTRIES
/self->calls == 1 && arg0 != 0/
{
        self->node = arg0; self->named = 0;
        self->api = probefunc == "getaddrinfo" ? 1 : probefunc == "gethostbyname_r" ? 2 : 3;
        self->a1 = arg1; self->a2 = arg2; self->a3 = arg3; self->a4 = arg4; self->a5 = arg5; self->a6 = arg6;
        this->n_who = 1;
}

/* AI_NUMERICHOST, 4 in ai_flags: an address is put into another form, and nothing looked up */
ENTRIES
/self->calls == 1 && self->api == 1 && self->a2 != 0 && (*(int *)copyin(self->a2, 4) & 4) != 0/
{
        self->node = 0; self->api = 0; this->n_who = 0;
}

WHO

/* 50 Asks */
ENTRIES
/self->calls == 1 && self->node != 0/
{
        trace(50); trace(timestamp); trace(tid); trace(curthread->nsproxy->net_ns->ns.inum);
        trace(stringof(curthread->nsproxy->uts_ns->name.nodename)); trace(self->api == 1);
        trace(curthread->nsproxy->mnt_ns->ns.inum);
}

/* 51 Named */
ENTRIES
/self->calls == 1 && self->node != 0/
{
        trace(51); trace(tid); trace(copyinstr(self->node));
        self->named = 1;
}

/* 52 Consults: what a call connects to meanwhile; sockaddr_un takes 110 bytes */
syscall::connect:entry
/self->calls != 0/
{
        this->n_size = (int)arg2;
        trace(52); trace(tid); trace(this->n_size);
        tracemem(copyin(arg1, this->n_size < 0 ? 0 : this->n_size < 110 ? this->n_size : 110), 110);
}

/* 65 Consulted: with what result */
syscall::connect:return
/self->calls != 0/
{
        trace(65); trace(tid); trace((int)arg0);
}

/* 51 Named */
RETURNS
/self->calls == 1 && self->node != 0 && self->named == 0/
{
        trace(51); trace(tid); trace(copyinstr(self->node));
}

/* 53 Hints: ai_flags, ai_family, ai_socktype */
RETURNS
/self->calls == 1 && self->api == 1 && self->a2 != 0/
{
        trace(53); trace(tid); tracemem(copyin(self->a2, 12), 12);
}

/* 54 Service */
RETURNS
/self->calls == 1 && self->api == 1 && self->a1 != 0/
{
        trace(54); trace(tid); trace(copyinstr(self->a1, 32));
}

/* 55 Address: one of the list, as a sockaddr; there are three of each where no socket type was asked for */
RETURNS
/self->calls == 1 && self->api == 1 && (int)arg1 == 0/
{
        self->next = *(uint64_t *)copyin(self->a3, 8);
}
ADDRESSES

/* 56 Found: with what getaddrinfo returned */
RETURNS
/self->calls == 1 && self->api == 1/
{
        trace(56); trace(timestamp); trace(tid); trace((int)arg1);
        self->next = 0;
}

/* 57 Host: gethostbyname_r's and gethostbyname2_r's struct hostent, with up to three addresses */
RETURNS
/self->calls == 1 && self->api > 1/
{
        this->n_host = (int)arg1 == 0 ? *(uint64_t *)copyin(self->api == 2 ? self->a4 : self->a5, 8) : 0;
}

RETURNS
/self->calls == 1 && self->api > 1 && this->n_host != 0/
{
        this->n_fields = (uint64_t *)copyin(this->n_host, 32);
        this->n_list = (uint64_t *)copyin(this->n_fields[3], 32);
        trace(57); trace(tid); trace((int)this->n_fields[2]);
        if (this->n_list[0] != 0) { tracemem(copyin(this->n_list[0], 16), 16); }
        if (this->n_list[0] != 0 && this->n_list[1] != 0) { tracemem(copyin(this->n_list[1], 16), 16); }
        if (this->n_list[0] != 0 && this->n_list[1] != 0 && this->n_list[2] != 0) {
                tracemem(copyin(this->n_list[2], 16), 16);
        }
}

/* 58 Done: what they returned, and h_errno */
RETURNS
/self->calls == 1 && self->api > 1/
{
        trace(58); trace(timestamp); trace(tid); trace((int)arg1); trace(this->n_host != 0);
        trace(self->api == 2 ? 2 : (int)self->a1);
        trace(*(int *)copyin(self->api == 2 ? self->a5 : self->a6, 4));
}

RETURNS
/self->calls != 0/
{
        self->calls--;
}

RETURNS
/self->calls == 0/
{
        self->node = 0; self->api = 0; self->named = 0;
        self->a1 = 0; self->a2 = 0; self->a3 = 0; self->a4 = 0; self->a5 = 0; self->a6 = 0;
}

/* 59 Gone: the thread ends within a call */
rawtp:::sched_process_exit
/self->calls != 0/
{
        trace(59); trace(timestamp); trace(tid);
        self->calls = 0; self->node = 0; self->api = 0; self->named = 0; self->next = 0;
        self->a1 = 0; self->a2 = 0; self->a3 = 0; self->a4 = 0; self->a5 = 0; self->a6 = 0;
}
