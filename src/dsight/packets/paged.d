/* Bytes in pages (struct skb_shared_info): those of the first piece, which follow the headers; how long it is and where
   in its page stands behind the page.  A lowest bit of 1 says that it is no memory of ours (struct net_iov). */
ip:::send, ip:::receive
/this->take && this->skb->data_len != 0 && this->have <= HEADERS && this->have < SNAP/
{
	this->pieces = (struct skb_shared_info *)(this->skb->head + this->skb->end);
	this->piece = (uint64_t *)&this->pieces->frags[0];
	this->part = this->pieces->nr_frags == 0 || (this->piece[0] & 1) ? 0 : (uint32_t)this->piece[1];
	this->paged = (unsigned char *)((this->piece[0] << 6) + PAGES + (this->piece[1] >> 32));
	this->part = this->part > SNAP - this->have ? SNAP - this->have : this->part;
	this->part = this->part > this->wire - this->have ? this->wire - this->have : this->part;
}
