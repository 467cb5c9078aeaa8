# A network of namespaces for tests/network.rs: $CLIENT is the client, $TEST the test itself, which has the server; logs go to
# $OUT. Runs in namespaces of its own, and everything ends with it.
set -eu
mount -t tmpfs tmpfs /run
ip link add lan type bridge
ip link set lan up

at() { # HOST COMMAND..
    at=$1
    shift
    nsenter --net="/run/netns/$at" "$@"
}

host() { # NAME ADDRESS: on the local network
    ip netns add "$1"
    ip link add "to-$1" type veth peer name eth0 netns "$1"
    ip link set "to-$1" master lan up
    at "$1" sh -c "ip link set lo up; ip link set eth0 up; ip addr add $2/24 dev eth0"
}

said() { # LOG TEXT: waits for it
    for _ in $(seq 200); do
        if grep -q "$2" "$OUT/$1" 2>/dev/null; then return; fi
        sleep 0.05
    done
    echo "$1 does not say: $2"
    exit 1
}

client() { # HOST ARGUMENTS..: its log is named after the host
    client=$1
    shift
    # Not by `at`: a signal to $! has to reach the program itself.
    nsenter --net="/run/netns/$client" "$CLIENT" --server 10.9.0.1 dissonance --name "$client" join Lobby "$@" >"$OUT/$client" 2>&1 &
}

csharp() { # HOST SECONDS ARGUMENTS..: the player of the package for Unity, which speaks for so long; its log is named after the host
    csharp=$1 speaks=$2
    shift 2
    { echo join Lobby; sleep 4; echo "measure $speaks Lobby"; sleep $((speaks + 4)); echo counters; echo quit; } |
        nsenter --net="/run/netns/$csharp" mono "$UNITY" player "$csharp" host=10.9.0.1 "$@" >"$OUT/$csharp" 2>&1 &
}

host server 10.9.0.1
host alice 10.9.0.2
host bob 10.9.0.3
host router 10.9.0.4
at server env VOXWIRE_TEST_SERVER=10.9.0.1:4244 "$TEST" --exact server_for_the_others --nocapture >"$OUT/server" 2>&1 &
said server ready

case $1 in
direct | unity-direct)
    client bob --p2p
    bob=$!
    said bob joined
    if [ "$1" = direct ]; then
        client alice --p2p --play tone --for 6
        alice=$!
        said alice 'goes directly'
    else
        csharp alice 6 direct
        alice=$!
        said alice 'goes directly'
        said bob '"alice" speaks'
    fi
    at bob nft -f - <<END
table inet count {
    counter direct { }
    chain in {
        type filter hook input priority 0;
        ip saddr 10.9.0.2 meta l4proto udp counter name direct
    }
}
END
    sleep 2
    at bob nft list counter inet count direct >"$OUT/direct"
    at bob nft 'add rule inet count in ip saddr 10.9.0.2 meta l4proto udp drop'
    ;;
nat | firewall | unity-nat)
    ip netns add carol
    ip link add eth1 netns router type veth peer name eth0 netns carol
    at carol sh -c 'ip link set lo up; ip link set eth0 up; ip addr add 192.168.7.2/24 dev eth0; ip route add default via 192.168.7.1'
    at router sh -c 'ip link set eth1 up; ip addr add 192.168.7.1/24 dev eth1; echo 1 >/proc/sys/net/ipv4/ip_forward'
    # Another port for every destination.
    at router nft -f - <<END
table ip nat {
    chain out { type nat hook postrouting priority 100; oifname eth0 masquerade fully-random; }
    chain through { type filter hook forward priority 0; }
}
END
    if [ "$1" = firewall ]; then
        at router nft 'add rule ip nat through ip daddr != 10.9.0.1 ip saddr != 10.9.0.1 meta l4proto udp drop'
    fi
    if [ "$1" = unity-nat ]; then
        csharp bob 1 direct
    else
        client bob --p2p
    fi
    bob=$!
    said bob joined
    client carol --p2p --play tone --for 5
    alice=$!
    if [ "$1" = unity-nat ]; then
        # It leaves by itself.
        wait $alice
        wait $bob
        exit
    fi
    ;;
udp-blocked | unity-blocked)
    client bob
    bob=$!
    said bob joined
    if [ "$1" = udp-blocked ]; then
        client alice --play tone --for 9
        alice=$!
        said alice 'voice goes by UDP'
    else
        csharp alice 9
        alice=$!
        said bob '"alice" speaks'
    fi
    sleep 1
    at server nft -f - <<END
table inet block {
    chain in { type filter hook input priority 0; ip saddr 10.9.0.2 meta l4proto udp drop; }
}
END
    said alice 'UDP is blocked'
    sleep 1
    at server nft delete table inet block
    ;;
unity-vanish | unity-deaf)
    # Says nothing, so that TCP has nothing to notice it by.
    { echo join Lobby; sleep 60; } |
        nsenter --net=/run/netns/alice mono "$UNITY" player alice host=10.9.0.1 >"$OUT/alice" 2>&1 &
    alice=$!
    said alice 'voice goes by UDP'
    # Both ways: the server, which hears nothing either, would reset the connection.
    drop() {
        at server nft "table inet gone {
            chain in { type filter hook input priority 0; ip saddr 10.9.0.2 $1 drop; }
            chain out { type filter hook output priority 0; ip daddr 10.9.0.2 $1 drop; }
        }"
    }
    drop 'meta l4proto { tcp, udp }'
    said alice 'UDP is blocked'
    if [ "$1" = unity-deaf ]; then
        # UDP is back, and TCP is not.
        at server nft delete table inet gone
        drop 'meta l4proto tcp'
    fi
    for _ in 1 2 3 4; do grep -q 'news Disconnected' "$OUT/alice" || sleep 10; done
    at server nft delete table inet gone
    said alice 'news Disconnected'
    for _ in 1 2; do [ "$(grep -c UdpUp "$OUT/alice")" -ge 2 ] || sleep 10; done
    exit
    ;;
unity-addresses)
    # A name with two addresses: behind the first there is nothing, which shows only after seconds.
    printf '127.0.0.1 localhost\n10.9.0.77 voice\n10.9.0.1 voice\n' >"$OUT/hosts"
    mount --bind "$OUT/hosts" /etc/hosts
    { sleep 10; echo quit; } | nsenter --net=/run/netns/alice mono "$UNITY" transport host=voice no-reconnect >"$OUT/alice" 2>&1 &
    alice=$!
    said alice 'news Connected'
    wait $alice
    # A system that lets no UDP out.
    at bob ip rule add pref 1 ipproto udp prohibit
    for direct in '' direct; do
        { sleep 6; echo quit; } | nsenter --net=/run/netns/bob mono "$UNITY" transport host=10.9.0.1 $direct >"$OUT/bob$direct" 2>&1
    done
    exit
    ;;
syfala)
    # A device for every network of bob's, and one on the server that is bound to its interface.
    nsenter --net=/run/netns/bob "$CLIENT" syfala serve --bind 0.0.0.0 --echo >"$OUT/bob" 2>&1 &
    bob=$!
    said bob 'device at'
    nsenter --net=/run/netns/server "$CLIENT" syfala serve --bind 10.9.0.1 --channels 1 --announce 200 >"$OUT/second" 2>&1 &
    said second 'device at'
    at alice "$CLIENT" syfala discover --for 1 >"$OUT/found"
    # Nobody is at that address; who announces itself is heard all the same.
    at alice "$CLIENT" --server 10.9.0.77 syfala discover --for 1 >"$OUT/announced"
    # A host on another network is not answered, and a host that is not asked by broadcast is.
    ip netns add carol
    ip link add eth1 netns router type veth peer name eth0 netns carol
    at carol sh -c 'ip link set lo up; ip link set eth0 up; ip addr add 192.168.7.2/24 dev eth0; ip route add default via 192.168.7.1'
    at router sh -c 'ip link set eth1 up; ip addr add 192.168.7.1/24 dev eth1; echo 1 >/proc/sys/net/ipv4/ip_forward'
    at bob ip route add 192.168.7.0/24 via 10.9.0.4
    at carol "$CLIENT" --server 10.9.0.3 syfala discover --for 1 >"$OUT/carol" 2>&1 || true
    # A twentieth of everything gets lost, both ways.
    at alice nft -f - <<END
table inet lossy {
    chain in { type filter hook input priority 0; meta l4proto udp numgen random mod 20 == 0 drop; }
    chain out { type filter hook output priority 0; meta l4proto udp numgen random mod 20 == 0 drop; }
}
END
    nsenter --net=/run/netns/alice "$CLIENT" --json --server 10.9.0.3 syfala stream --play tone --for 4 --record "$OUT/heard.wav" >"$OUT/alice" 2>&1 &
    alice=$!
    ;;
esac
wait $alice
kill -TERM $bob
wait $bob
