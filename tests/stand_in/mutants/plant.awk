# awk -f plant.awk LIST FILE.cu: FILE.cu with the entries of LIST that name it, each as
# (mu_mutant == NUMBER ? (new) : (old)); the number counts the list's entries from 1.
function fail(what) {
    print "plant.awk: " what > "/dev/stderr"
    failed = 1
    exit 1
}
FNR == 1 { name = FILENAME; sub(/.*\//, "", name) }
NR == FNR && (/^#/ || /^$/) { next }
NR == FNR && /^- / { old[count] = substr($0, 3); next }
NR == FNR && /^\+ / { new[count] = substr($0, 3); next }
NR == FNR { count++; file[count] = $1; kernel[count] = $2; next }
{ text = text $0 "\n" }
END {
    if (failed)
        exit 1
    for (i = 1; i <= count; i++) {
        if (file[i] != name)
            continue
        from = match(text, "__global__[^;{]*[ *]" kernel[i] "\\(")
        if (!from)
            fail(name ": no kernel " kernel[i])
        body = substr(text, from)
        length_of = index(body, "\n}\n")
        body = substr(body, 1, length_of)
        at = index(body, old[i])
        if (!at || index(substr(body, at + length(old[i])), old[i]))
            fail(name ": `" old[i] "` does not stand once in " kernel[i])
        text = substr(text, 1, from + at - 2) "(mu_mutant == " i " ? (" new[i] ") : (" old[i] "))" \
            substr(text, from + at - 1 + length(old[i]))
    }
    print "#include <stdlib.h>"
    print "static const int mu_mutant = getenv(\"MUTANT\") ? atoi(getenv(\"MUTANT\")) : 0;"
    printf "%s", text
}
