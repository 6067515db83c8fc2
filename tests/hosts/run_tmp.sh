# A worker whose /tmp is full or read-only is named by preflight, before mpirun; with room the same command trains.
. "$(dirname "$0")/run_lib.sh"
fleet head one two
lab_in one mount -o remount,size=64k /tmp
lab_in two mount -o remount,ro /tmp
hosts=(--workers 2 --hosts one:1,two:1 train_iters=2 lr_decay_iters=2 eval_interval=0)
begin unfit "${hosts[@]}"
ended 80
for word in "write fails: No space left" "fails: Read-only file system"; do
    grep -q "$word" "$LAB/unfit.err" || lab_fail "'$word' is not reported: $(cat "$LAB/unfit.err")"
done
grep -qw "tmp.write" "$LAB/unfit.err" || lab_fail "the check is not named"
fault "/tmp of a worker full or read-only" "$(finding "$LAB/unfit.err" tmp.write)" 80 "before mpirun" "nothing"
lab_in one mount -o remount,size=64m /tmp
lab_in two mount -o remount,rw /tmp
begin fit "${hosts[@]}"
ended 0
