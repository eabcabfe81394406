/*
 * icmp: messages of ICMP and ICMPv6 (RFC 792, RFC 4443).
 */

typedef struct icmpinfo {
	uint8_t icmp_type;
	uint8_t icmp_code;
	uint16_t icmp_checksum;
	uint16_t icmp_id;		/* of an echo request or reply, as icmp_seq; else 0 */
	uint16_t icmp_seq;
	uintptr_t icmp_hdr;
} icmpinfo_t;

struct icmp_header { unsigned char octets[8]; };

inline int icmp_is_echo[unsigned char *ip, uint8_t type] =
	net_ip_is_v6[ip] ? type == 128 || type == 129 : type == 8 || type == 0;

/* arg1: the IP header */
translator icmpinfo_t < struct icmp_header *H > {
	icmp_type = H->octets[0];
	icmp_code = H->octets[1];
	icmp_checksum = net_be16[(unsigned char *)H + 2];
	icmp_id = icmp_is_echo[(unsigned char *)arg1, H->octets[0]] ? net_be16[(unsigned char *)H + 4] : 0;
	icmp_seq = icmp_is_echo[(unsigned char *)arg1, H->octets[0]] ? net_be16[(unsigned char *)H + 6] : 0;
	icmp_hdr = (uintptr_t)H;
};
