/* What tests/bench compares symroute with: a program that does nothing, one that only sends the changes of a hook, one
 * that splits lines; and what it measures with: peak memory, and route lookups. Linked statically. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GROUP = 97, PROTOCOL = 97, TABLE = 2, PRIORITY = 110 };

struct message {
	struct nlmsghdr header;
	char body[512];
};

static void add(struct message *message, int kind, const void *value, int length)
{
	struct rtattr *attribute = (void *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));
	attribute->rta_type = kind;
	attribute->rta_len = RTA_LENGTH(length);
	memcpy(RTA_DATA(attribute), value, length);
	message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static struct message begin(int kind, int flags, const void *header, int length)
{
	struct message message = {{NLMSG_LENGTH(length), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0}, {0}};
	memcpy(NLMSG_DATA(&message.header), header, length);
	return message;
}

static void send_one(int fd, struct message *message)
{
	char reply[4096];
	if (send(fd, message, message->header.nlmsg_len, 0) < 0 || recv(fd, reply, sizeof reply, 0) < 0)
		err(1, "netlink");
	int error = ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)reply))->error;
	if (error)
		errx(1, "message %d: %s", message->header.nlmsg_type, strerror(-error));
}

static void send_route(int fd, int up, int dev, in_addr_t net, in_addr_t gateway)
{
	struct rtmsg header = {.rtm_family = AF_INET, .rtm_dst_len = net ? 24 : 0, .rtm_table = TABLE,
		.rtm_protocol = PROTOCOL, .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK, .rtm_type = RTN_UNICAST};
	int kind = up ? RTM_NEWROUTE : RTM_DELROUTE, flags = up ? NLM_F_CREATE | NLM_F_EXCL : 0;
	struct message message = begin(kind, flags, &header, sizeof header);
	if (net)
		add(&message, RTA_DST, &net, sizeof net);
	if (gateway)
		add(&message, RTA_GATEWAY, &gateway, sizeof gateway);
	add(&message, RTA_OIF, &dev, sizeof dev);
	send_one(fd, &message);
}

static void send_rule(int fd, int up, int offset, in_addr_t from, const char *oif)
{
	struct fib_rule_hdr header = {.family = AF_INET, .src_len = from ? 32 : 0, .action = FR_ACT_TO_TBL,
		.table = offset ? TABLE : RT_TABLE_MAIN};
	int kind = up ? RTM_NEWRULE : RTM_DELRULE, flags = up ? NLM_F_CREATE | NLM_F_EXCL : 0;
	struct message message = begin(kind, flags, &header, sizeof header);
	int priority = PRIORITY + offset, length = 1, group = GROUP;
	char protocol = PROTOCOL;
	add(&message, FRA_PRIORITY, &priority, sizeof priority);
	add(&message, FRA_PROTOCOL, &protocol, sizeof protocol);
	if (from)
		add(&message, FRA_SRC, &from, sizeof from);
	if (oif)
		add(&message, FRA_OIFNAME, oif, strlen(oif) + 1);
	if (!offset) {
		add(&message, FRA_SUPPRESS_PREFIXLEN, &length, sizeof length);
		add(&message, FRA_SUPPRESS_IFGROUP, &group, sizeof group);
	}
	send_one(fd, &message);
}

static void send_group(int fd, int up, int dev)
{
	struct ifinfomsg header = {.ifi_index = dev};
	struct message message = begin(RTM_SETLINK, 0, &header, sizeof header);
	int group = up ? GROUP : 0;
	add(&message, IFLA_GROUP, &group, sizeof group);
	send_one(fd, &message);
}

/* The messages of a hook for an interface that goes up or down, without anything else. */
static void messages(int up, const char *name, const char *address, const char *net, const char *gateway)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), dev = if_nametoindex(name);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (fd < 0 || connect(fd, (void *)&kernel, sizeof kernel))
		err(1, "netlink");
	for (int n = 0; n < 6; n++)
		switch (up ? n : 5 - n) {
		case 0: send_group(fd, up, dev); break;
		case 1: send_route(fd, up, dev, inet_addr(net), 0); break;
		case 2: send_route(fd, up, dev, 0, inet_addr(gateway)); break;
		case 3: send_rule(fd, up, 0, inet_addr(address), NULL); break;
		case 4: send_rule(fd, up, 1, inet_addr(address), NULL); break;
		case 5: send_rule(fd, up, 3, 0, name); break;
		}
}

static void lines(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat status;
	if (fd < 0 || fstat(fd, &status))
		err(1, "%s", path);
	char *text = malloc(status.st_size + 1), *end = text + read(fd, text, status.st_size), *next;
	long count = 0;
	for (char *line = text; line < end && (next = memchr(line, '\n', end - line)); line = next + 1)
		count++;
	printf("%ld\n", count);
}

/* Kilobytes that a command has in memory at its peak. */
static void memory(char **command)
{
	struct rusage usage;
	pid_t child = vfork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 1), dup2(null, 2);
		execvp(*command, command);
		_exit(127);
	}
	wait4(child, NULL, 0, &usage);
	printf("%ld\n", usage.ru_maxrss);
}

/* Nanoseconds of each connect(2) of a UDP socket with this source address: one route lookup. */
static void lookups(const char *source, long count)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(source)}, to = from;
	struct timespec begin, end;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	to.sin_port = htons(9);
	if (bind(fd, (void *)&from, sizeof from))
		err(1, "%s", source);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long n = 0; n < count; n++) {
		to.sin_addr.s_addr = htonl(0xcb007100 + (n & 0xff)); /* 203.0.113.0/24 */
		if (connect(fd, (void *)&to, sizeof to))
			err(1, "connect");
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%ld\n", ((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec) / count);
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";
	if (!strcmp(what, "up") || !strcmp(what, "down"))
		messages(*what == 'u', words[2], words[3], words[4], words[5]);
	else if (!strcmp(what, "lines"))
		lines(words[2]);
	else if (!strcmp(what, "memory"))
		memory(words + 2);
	else if (!strcmp(what, "lookups"))
		lookups(words[2], atol(words[3]));
	return 0;
}
