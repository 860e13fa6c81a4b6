#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# What udhcpc runs when it has, renews or loses an address.
case $1 in
deconfig)
	ip addr flush dev "$interface"
	;;
bound | renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/$mask" broadcast + dev "$interface"
	[ -n "$mtu" ] && ip link set dev "$interface" mtu "$mtu"
	for router in $router; do
		ip route replace default via "$router"
		break
	done
	: >/etc/resolv.conf
	for server in $dns; do
		echo "nameserver $server" >>/etc/resolv.conf
	done
	echo "$interface has $ip"
	;;
esac
