/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <glob.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "tools/packet.h"

#define SOCKET_BUFFER (16 << 20)

int packet_open(const char *ifname, enum packet_sees sees)
{
	struct sockaddr_ll sll = {.sll_family = AF_PACKET,
				  .sll_protocol = sees == SEES_NOTHING ? 0 : htons(ETH_P_ALL)};
	int one = 1, ignore = sees != SEES_ALL, size = SOCKET_BUFFER;
	/* Without a protocol it gets nothing until it is bound to the one interface. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	sll.sll_ifindex = (int)if_nametoindex(ifname);
	if (fd < 0 || !sll.sll_ifindex ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore, sizeof(ignore)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 ||
	    bind(fd, (struct sockaddr *)&sll, sizeof(sll)) < 0) {
		perror(ifname);
		exit(1);
	}
	return fd;
}

/* Is this one of the namespaces that selftests/lib.sh makes, and names td-...? */
static bool in_test_namespace(void)
{
	struct stat own, other;
	bool found = false;
	glob_t names;

	if (stat("/proc/self/ns/net", &own) < 0 || glob("/run/netns/td-*", 0, NULL, &names))
		return false;
	for (size_t i = 0; i < names.gl_pathc; i++)
		found |= !stat(names.gl_pathv[i], &other) && other.st_ino == own.st_ino &&
			 other.st_dev == own.st_dev;
	globfree(&names);
	return found;
}

void packet_refuse_real_networks(const char *program, int fd, const char *ifname,
				 uint8_t own_mac[6])
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {.ifr_data = (void *)&info};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (ioctl(fd, SIOCETHTOOL, &ifr) < 0) {
		perror(ifname);
		exit(1);
	}
	if (!in_test_namespace() || strcmp(info.driver, "veth") != 0) {
		fprintf(stderr, "%s: only for a veth in a network namespace of a test\n", program);
		exit(2);
	}
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0) {
		perror(ifname);
		exit(1);
	}
	memcpy(own_mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

void packet_parse_mac(const char *option, const char *text, uint8_t mac[6])
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4,
		   mac + 5) == 6)
		return;
	fprintf(stderr, "%s: \"%s\" is not a hardware address\n", option, text);
	exit(2);
}
