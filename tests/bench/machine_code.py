#!/usr/bin/env python3
"""What nvcc makes of the kernels on a GPU, without one.

    tests/bench/machine_code.py [--before REVISION] [--files NAME...] [--type bf16|fp16|fp32] [ARCH...]

Compiles kernels/cuda/NAME.cu (default: attention_mma attention_mma_backward loss) for each ARCH (default: 80 86 90)
and prints a line for each kernel, in Markdown: instructions of the main loop, those of them that multiply on the
matrix units (mma), read shared memory for them (ldsm) and copy into it (copies); all instructions; registers; bytes
spilled, and in parentheses the instructions of the main loop that move them; shared memory of a block; blocks that a
multiprocessor holds. With --before the same of that revision stands in front of each figure. Of attention's kernels the
numbers are the head's width and the groups of 16 rows that a warp takes, then, of forward with heads of 256, the keys
of a tile, of backward_kv what it makes (1: of keys, 2: of values, 3: both).

The main loop is the largest set of instructions that can reach each other: loops within are part of it. Needs nvcc
and nvdisasm (of CUDA, or the wheel nvidia-cuda-nvdisasm; NVCC and NVDISASM name others) and c++filt.
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Shared memory of a multiprocessor in KiB, 1 KiB of it lost for each block (CUDA C++ Programming Guide, "Compute
# Capabilities"); every one of these has 64 Ki registers.
SHARED = {75: 64, 80: 164, 86: 100, 87: 164, 89: 100, 90: 228, 100: 228, 103: 228, 120: 100}
RESIDENT = {75: 1024, 86: 1536, 87: 1536, 89: 1536, 120: 1536}
TYPES = {"bf16": "__nv_bfloat16", "fp16": "__half", "fp32": "float"}


def find(program, *beside):
    path = os.environ.get(program.upper()) or shutil.which(program)
    for pattern in beside:
        path = path or next(iter(sorted(glob.glob(pattern))), None)
    if not path:
        sys.exit(f"machine_code: no {program}")
    return path


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"machine_code: {' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def attention(kernel, args):
    """(what is shown, rows of D + 8 elements of 2 bytes that a block has in shared memory), as the launches in
    kernels/cuda/attention_mma*.cu count them. An earlier tree's kernels have other arguments."""
    d, m = args[:2]
    passing = 64 if d <= 64 else 32 if d <= 128 else 16
    if kernel == "forward":
        keys = args[2] if len(args) > 2 else 64
        return (kernel, d, m) + ((keys,) if d > 128 else ()), 64 * m + 2 * keys
    if kernel == "backward_q":
        kept = len(args) > 2 and args[2]
        return (kernel, d, m), (0 if kept else 128 * m) + 4 * passing
    if len(args) > 2:
        return (kernel, d, m) + args[2:], 128 * m + 4 * passing
    m = 2 if d <= 64 else 1
    return (kernel, d, m, args[1]), (0 if d <= 128 else 128 * m) + 4 * passing


def strongly_connected(following):
    """The largest component by Tarjan's algorithm, without recursion."""
    index, low, on, stack, found = {}, {}, set(), [], []
    for root in following:
        if root in index:
            continue
        work = [(root, iter(following[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on.add(other)
                    work.append((other, iter(following[other])))
                    break
                if other in on:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        part.append(stack.pop())
                        on.discard(part[-1])
                        if part[-1] == node:
                            break
                    if len(part) > 1 or node in following[node]:
                        found.append(part)
    return found


INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?(\S+)\s*(.*?)\s*;")


def loops(text):
    """{function: (all opcodes, opcodes of the main loop)} of what nvdisasm prints."""
    out = {}
    for part in re.split(r"^\s*\.section\s+\.text\.", text, flags=re.M)[1:]:
        name = re.match(r"[\w$.]+", part).group(0)
        code, label, waiting = [], {}, []
        for line in part.splitlines():
            mark = re.match(r"^(\.L_\w+):", line)
            if mark:
                waiting.append(mark.group(1))
                continue
            one = INSTRUCTION.match(line)
            if one:
                for w in waiting:
                    label[w] = len(code)
                waiting = []
                code.append(one.groups())
        following = {}
        for i, (guard, op, operands) in enumerate(code):
            target = re.search(r"`\((\.L_\w+)\)", operands)
            # a call of a place in the same function leaves a loop
            jumps = op.startswith(("BRA", "JMP", "CALL.REL.NOINC")) and target and target.group(1) in label
            ends = op.startswith(("EXIT", "RET", "BRX", "JMX")) or jumps
            always = not guard and not re.search(r"^!?U?P\d", operands) and ".DIV" not in op
            following[i] = [] if ends and always else [i + 1] if i + 1 < len(code) else []
            if jumps:
                following[i].append(label[target.group(1)])
        ops = [op.split(".")[0] for _, op, _ in code]
        while ops and ops[-1] in ("NOP", "BRA"):
            ops.pop()
        parts = [[ops[i] for i in p if i < len(ops)] for p in strongly_connected(following)]
        out[name] = (ops, max(parts, key=lambda p: (p.count("HMMA"), len(p)), default=[]))
    return out


def kernels(tree, files, arch, tools, wanted):
    """{(name of the kernel, D, M ...): figures}"""
    nvcc, nvdisasm, room = tools
    out = {}
    for name in files:
        source = f"{tree}/kernels/cuda/{name}.cu"
        if not os.path.exists(source):
            continue
        cubin = f"{room}/{name}.cubin"
        said = run(nvcc, "-cubin", f"-arch=sm_{arch}", "-std=c++17", "-O3", "-Xptxas", "-v", "-I", tree, source, "-o", cubin)
        code = loops(run(nvdisasm, "-c", cubin))
        used = {}
        for block in said.split("Compiling entry function '")[1:]:
            number = lambda pattern: int((re.search(pattern, block) or [0, 0])[1])
            used[block.split("'")[0]] = (number(r"Used (\d+) registers"), number(r"(\d+) bytes spill stores") +
                                         number(r"(\d+) bytes spill loads"), number(r"(\d+) bytes smem"))
        plain = run("c++filt", *used).splitlines() if used else []
        for mangled, readable in zip(used, plain):
            ops, loop = code.get(mangled, ([], []))
            found = re.match(r"(?:void )?(\w+)(?:<(.*)>)?\(", readable.replace("(anonymous namespace)::", ""))
            if not found or len(ops) < 24:  # one that this architecture does not need returns at once
                continue
            words = [re.sub(r"\((?:int|bool)\)", "", w).strip() for w in (found.group(2) or "").split(",")]
            if words[0] in TYPES.values() and words[0] != wanted:
                continue
            args = [{"true": 1, "false": 0}.get(w, w) for w in words[1:]]
            args = tuple(int(a) for a in args if re.fullmatch(r"-?\d+", str(a)))
            registers, spilled, own = used[mangled]
            shared = own
            key = (found.group(1),) + args
            if "HMMA" in ops:
                key, rows = attention(found.group(1), args)
                shared += rows * (args[0] + 8) * 2
            threads = 512 if name == "loss" else 128
            warps = threads // 32
            by_registers = 65536 // (-(-registers // 8) * 8 * 32 * warps) if registers else 16
            blocks = min(by_registers, SHARED[arch] * 1024 // (shared + 1024), RESIDENT.get(arch, 2048) // threads)
            out[key] = (len(loop), loop.count("HMMA"), loop.count("LDSM"), loop.count("LDGSTS"), len(ops), registers,
                        f"{spilled} ({loop.count('LDL') + loop.count('STL')})", f"{shared / 1024:.1f}", blocks)
    return out


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("arch", nargs="*", type=int, default=[80, 86, 90])
    words.add_argument("--before")
    words.add_argument("--files", nargs="+", default=["attention_mma", "attention_mma_backward", "loss"])
    words.add_argument("--type", default="bf16", choices=TYPES)
    given = words.parse_args()
    nvcc = find("nvcc", "/usr/local/cuda/bin/nvcc")
    nvdisasm = find("nvdisasm", "/usr/local/cuda/bin/nvdisasm", f"{sys.prefix}/lib/python3*/site-packages/nvidia/*/bin/nvdisasm")
    with tempfile.TemporaryDirectory() as room:
        trees = [TOP]
        if given.before:
            old = f"{room}/before"
            os.mkdir(old)
            packed = f"{room}/before.tar"
            run("git", "-C", TOP, "archive", "-o", packed, given.before, "common", "kernels")
            run("tar", "-C", old, "-xf", packed)
            trees.insert(0, old)
        print(run(nvcc, "--version").strip().splitlines()[-2])
        print("| kernel | sm | loop | mma | ldsm | copies | all | registers | spilled | shared, KB | blocks |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for arch in given.arch:
            tables = [kernels(t, given.files, arch, (nvcc, nvdisasm, room), TYPES[given.type]) for t in trees]
            for key in sorted(set().union(*tables)):
                lines = [t.get(key) for t in tables]
                cells = []
                for i in range(9):
                    shown = ["" if f is None else str(f[i]) for f in lines]
                    cells.append(shown[0] if len(set(shown)) == 1 else " -> ".join(s or "none" for s in shown))
                print(f"| {key[0]} {' '.join(map(str, key[1:]))} | {arch} | {' | '.join(cells)} |", flush=True)


main()
