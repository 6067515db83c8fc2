# muster check on hosts with RDMA that stands in for a real one: each host is a folder with its own tree of sysfs, an
# `ssh` that only changes into it, and libraries with the names of NVML's and libibverbs'. What is right is reported in
# one line; a slow link, a port without an address and a container without devices are named with host and port, and
# 80.
. "$(dirname "$0")/lib.sh"
: "${MUSTER_STAND_INS:?the folder of the stand-ins for NVML and libibverbs}"
export MUSTER_NVML=$MUSTER_STAND_INS/libstand_in_nvml.so MUSTER_IBVERBS=$MUSTER_STAND_INS/libstand_in_ibverbs.so
export MUSTER_SYSFS=sys HOSTS=$scratch/hosts
export OMPI_MCA_btl_tcp_if_include=lo # all hosts are this machine
unset NCCL_IB_HCA NCCL_IB_GID_INDEX
mkdir "$scratch/path"
export PATH=$scratch/path:$PATH
cat >"$scratch/path/ssh" <<'END'
#!/bin/sh
# ssh [-G] OPTION... -- HOST [COMMAND]
ask=
while [ "$1" != -- ]; do
    [ "$1" != -G ] || ask=yes
    shift
done
if [ "$ask" ]; then
    printf 'hostname %s\nport 22\nproxycommand of its own\n' "$2"
    exit
fi
cd "$HOSTS/$2" || exit
if [ -f trouble ]; then export STAND_IN_IBVERBS="$(cat trouble)"; fi
# with a host name of its own, since two names of one machine are an error
if [ "$(id -u)" -eq 0 ]; then own=-u; else own=-ru; fi
exec unshare $own sh -c "hostname $2; $3"
END
chmod +x "$scratch/path/ssh"

put() { # FILE TEXT
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1"
}

# host NAME: two ports of RoCE below one switch with the first GPU, the second GPU on the other socket
host() {
    local sys=$HOSTS/$1/sys switch=devices/pci0000:17/0000:17:01.0/0000:18:00.0 i
    local gpu=$switch/0000:19:00.0/0000:1a:00.0 far=devices/pci0000:8a/0000:8a:01.0/0000:8b:00.0
    put "$sys/$gpu/numa_node" 0
    put "$sys/$far/numa_node" 1
    for i in 0 1; do
        put "$sys/devices/system/node/node$i/cpulist" "$i"
        put "$sys/devices/system/cpu/cpu$i/topology/physical_package_id" "$i"
        local card=$switch/0000:19:0$((i + 1)).0/0000:1b:00.$i port=$sys/class/infiniband/mlx5_$i/ports/1
        put "$sys/$card/numa_node" 0
        put "$sys/$card/infiniband_verbs/uverbs7$i/ibdev" "mlx5_$i"
        put "$port/state" "4: ACTIVE"
        put "$port/rate" "400 Gb/sec (4X NDR)"
        put "$port/link_layer" Ethernet
        put "$port/gids/0" fe80:0000:0000:0000:506b:4b03:0000:000$((i + 1))
        put "$port/gid_attrs/types/0" "IB/RoCE v1"
        put "$port/gids/1" 0000:0000:0000:0000:0000:ffff:0a00:000$((i + 1))
        put "$port/gid_attrs/types/1" "RoCE v2"
        ln -s "../../../$card" "$sys/class/infiniband/mlx5_$i/device"
    done
    put "$sys/module/nvidia_peermem/version" 570.00
    mkdir -p "$sys/bus/pci/devices" "$sys/bus/pci/drivers/nvidia"
    for i in "$gpu" "$far"; do
        ln -s "../../../$i" "$sys/bus/pci/devices/${i##*/}"
        ln -s "../../../../$i" "$sys/bus/pci/drivers/nvidia/${i##*/}"
    done
}

for name in h1 h2 h3 h4; do host $name; done
# the limit is the machine's: it may have to stay, and is then found on every host
ulimit -l unlimited 2>/dev/null || true
fine=0
may_lock=$((0x$(sed -nE 's/^CapEff:\s*//p' /proc/self/status) >> 14 & 1))
[ "$(ulimit -l)" = unlimited ] || [ $may_lock -eq 1 ] || fine=80

check() { # CODE ARGUMENT...
    expect_exit "$1" muster check "$scratch/model.yml" --run-dir "$scratch/run" "${@:2}" >"$scratch/out" 2>"$scratch/err"
}
said() { grep -qF -- "$1" "$scratch/err" || fail "does not say '$1': $(cat "$scratch/err")"; }
# found CHECK HOSTS FOUND
found() {
    grep -A2 -E -- "  $1 +$2\$" "$scratch/err" | grep -qF -- "found: $3; wanted: " ||
        fail "$1 on $2 is not found as '$3': $(cat "$scratch/err")"
}

check $fine --hosts h1:2,h2:2,h3:2
said "RDMA on h1, h2, h3: 2 ports at 400 Gb/sec (4X NDR) Ethernet, NCCL_IB_HCA=mlx5_0:1,mlx5_1:1, NCCL_IB_GID_INDEX=1, GPUDirect by "
found gpu.nic "h1, h2, h3" "GPU 1 (GPU-stand-in): the nearest is mlx5_0, across sockets"
! grep -q ' net\.' "$scratch/err" || fail "a good host is blamed: $(cat "$scratch/err")"

put "$HOSTS/h2/sys/class/infiniband/mlx5_0/ports/1/rate" "200 Gb/sec (4X HDR)"
rm "$HOSTS/h3/sys/class/infiniband/mlx5_1/ports/1/gids/1"
echo hidden >"$HOSTS/h4/trouble"
check 80 --hosts h1:2,h2:2,h3:2,h4:2
found net.ports h2 "2 ports at 200 Gb/sec (4X HDR) and 400 Gb/sec (4X NDR) Ethernet"
found net.ports h3 "1 port at 400 Gb/sec (4X NDR) Ethernet (mlx5_1:1 has no address)"
found net.device h4 "mlx5_0:1: /dev/infiniband/uverbs70 is not there; of 2 ports the first"
said "fix: give the container its devices (/dev/infiniband; in Kubernetes a resource such as rdma/ib), or set muster.transport=tcp"
! grep -E '  net\.[a-z]+ .*\bh1\b' "$scratch/err" || fail "h1 is blamed"

check 0 muster.transport=tcp --hosts h1:2,h4:2
said "RDMA (not used) on h1, h4: 2 ports"
! grep -q ' net\.' "$scratch/err" || fail "ports are judged that are not used: $(cat "$scratch/err")"

NCCL_IB_HCA==mlx5_9 check 80 --hosts h1:2,h2:2
found net.hca "h1, h2" "NCCL_IB_HCA==mlx5_9 names no active port"
