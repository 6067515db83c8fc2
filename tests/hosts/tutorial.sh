# The commands of docs/tutorial.md on two hosts, as they stand there, and what the page shows of their output. A block
# ```console is a terminal on the host `one`: a line `$ COMMAND` is run, and each line after it must be in its output,
# where a number may be another one and "..." any lines. `COMMAND &` stays in the foreground of another terminal; the
# next block that begins with output is its own. `$ echo $?` shows the exit code. A block ```yaml NAME is a file.
. "$(dirname "$0")/lab.sh"
page=$MUSTER_SOURCE/docs/tutorial.md
lab_begin
for name in one two; do lab_host $name; done
# what the page takes for granted: a shared volume at one path, muster in PATH, a key that works without a question
cat >"$LAB/etc/ssh_config" <<END
IdentityFile $LAB/user_key
IdentitiesOnly yes
StrictHostKeyChecking yes
UserKnownHostsFile $LAB/known_hosts
GlobalKnownHostsFile none
END
for name in one two; do
    lab_in $name bash -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/shared && mount --bind "$1/volume" /mnt/shared &&
        mount --bind "$1/etc/ssh_config" /etc/ssh/ssh_config' tutorial "$LAB"
done
find "$MUSTER_SOURCE/common" -name '*.[ch]' | LC_ALL=C sort | xargs cat >"$LAB/volume/text.txt"

# plain FILE: every number, time and digest of it as #, blanks as one
plain() {
    sed -E 's/\x1b\[[0-9;]*m//g; s/[0-9a-f]{8,}/#/g; s/[0-9]+(\.[0-9]+)?(e-?[0-9]+)?/#/g; s/#m#s/#s/g; s/in phase [a-z_]+/in phase #/g; s/ +/ /g; s/ $//' "$1" | tr '\0' '#'
}
shell() { # COMMAND: on the host `one`, in the tutorial's folder
    lab_in one env PATH="$LAB/bin:$PATH" HOME=/root TERM=dumb bash -c "cd /mnt/shared && $1"
}
shown=0 ran=0 status=0
# shows FILE: its lines are there in the newest output
shows() {
    [ -s "$1" ] || return 0
    local line
    plain "$LAB/output" >"$LAB/output.plain"
    while IFS= read -r line; do
        [ "$line" != ... ] && [ -n "$line" ] || continue
        grep -qF -- "$line" "$LAB/output.plain" || {
            cat "$LAB/output" >&2
            lab_fail "docs/tutorial.md shows '$line' after: $command"
        }
        shown=$((shown + 1))
    done < <(plain "$1")
}
steps() { cat "$LAB"/volume/*/metrics.jsonl 2>/dev/null | wc -l; }
has_steps() { [ "$(steps)" -ge "$1" ]; }

background= command=
: >"$LAB/wanted"
compare() { # what the page shows after the command before
    shows "$LAB/wanted"
    : >"$LAB/wanted"
}
run() {
    compare
    command=$1
    case $command in
    'echo $?')
        echo "$status" >"$LAB/output"
        return
        ;;
    *'kill '* | 'muster stop '*) # of a run that steps
        local at i
        at=$(steps)
        for ((i = 0; i < 600; i++)); do
            ! has_steps $((at + 60)) || break
            sleep 0.05
        done
        has_steps $((at + 60)) || lab_fail "no steps before: $command"
        ;;
    esac
    status=0 ran=$((ran + 1))
    if [[ $command == *' &' ]]; then
        shell "${command% &}" >"$LAB/background" 2>&1 &
        background=$!
        : >"$LAB/output"
    else
        shell "$command" >"$LAB/output" 2>&1 </dev/null || status=$?
    fi
}
foreground() { # the end of what was started with &
    compare
    [ -n "$background" ] || lab_fail "docs/tutorial.md:$number: whose output is this?"
    status=0
    wait "$background" || status=$?
    background= command="what was started with &"
    cp "$LAB/background" "$LAB/output"
}

number=0 kind=
while IFS= read -r line; do
    number=$((number + 1))
    case $kind:$line in
    :'```console') kind=first ;;
    :'```yaml '*)
        kind=file file=$LAB/volume/${line#* }
        : >"$file"
        ;;
    :'<!-- two: sshd -->') lab_sshd two ;; # the sentence beside it says so to the reader
    :*) ;;
    *:'```')
        kind=
        compare
        ;;
    file:*) echo "$line" >>"$file" ;;
    *:'$ '*)
        kind=console
        run "${line#'$ '}"
        ;;
    first:*)
        foreground
        kind=console
        echo "$line" >>"$LAB/wanted"
        ;;
    console:*) echo "$line" >>"$LAB/wanted" ;;
    esac
done <"$page"
[ $ran -ge 10 ] && [ $shown -ge 20 ] || lab_fail "only $ran commands and $shown lines of output in docs/tutorial.md"
echo "$ran commands, $shown lines of output"
