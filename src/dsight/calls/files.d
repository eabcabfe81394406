/* Which open file a descriptor is: recorded once, and again when a socket's addresses change. */
rawtp:::sys_enter, rawtp:::sys_exit
/this->w && this->FILE != NULL/
{
	this->ino = this->FILE->f_inode;
	this->sk = (this->ino->i_mode & 0xf000) == 0xc000 ? ((struct socket *)this->FILE->private_data)->sk : NULL;
	this->now = (uint64_t)this->FILE->f_path.dentry + this->FILE->f_path.dentry->d_name.hash_len;
	this->now += (uint64_t)this->ino->i_ino * 0x9e3779b97f4a7c15; /* memory is used again: for another socket, say */
	this->now += this->sk == NULL ? 0 : *(uint64_t *)&this->sk->__sk_common.skc_addrpair + this->sk->__sk_common.skc_portpair + this->sk->__sk_common.skc_state;
	this->FILE = named[(uint64_t)this->FILE] == this->now ? NULL : this->FILE;
}

rawtp:::sys_enter, rawtp:::sys_exit
/this->w && this->FILE != NULL/
{
	named[(uint64_t)this->FILE] = this->now;
}

/* File */
rawtp:::sys_enter, rawtp:::sys_exit
/this->w && this->FILE != NULL && this->sk == NULL/
{
	trace((uint64_t)this->FILE); trace((uint16_t)this->ino->i_mode); trace((uint64_t)this->ino->i_ino);
	trace((uint32_t)file_has_path[this->FILE]);
	trace(file_has_path[this->FILE] ? d_path(&this->FILE->f_path) : stringof(this->FILE->f_path.dentry->d_name.name));
}

/* Socket */
rawtp:::sys_enter, rawtp:::sys_exit
/this->w && this->FILE != NULL && this->sk != NULL/
{
	trace((uint64_t)this->FILE); trace((uint64_t)this->ino->i_ino);
	trace((uint16_t)this->sk->__sk_common.skc_family); trace((uint16_t)this->sk->sk_type);
	trace((uint16_t)this->sk->sk_protocol); trace((uint16_t)this->sk->__sk_common.skc_state);
	trace((uint16_t)this->sk->__sk_common.skc_num); trace((uint16_t)this->sk->__sk_common.skc_dport);
	trace((uint32_t)this->sk->__sk_common.skc_rcv_saddr); trace((uint32_t)this->sk->__sk_common.skc_daddr);
	tracemem(&this->sk->__sk_common.skc_v6_rcv_saddr, 16); tracemem(&this->sk->__sk_common.skc_v6_daddr, 16);
}
