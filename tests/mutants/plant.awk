# awk -f plant.awk LIST FILE: FILE with the entries of LIST that name it, each as
# (mu_mutant == NUMBER ? (new) : (old)); the number counts the list's entries from 1.
function fail(what) {
    print "plant.awk: " what > "/dev/stderr"
    failed = 1
    exit 1
}
# Whether the file that is read is, or ends with, the entry's.
function named(entry) {
    return substr("/" FILENAME, length("/" FILENAME) - length(entry)) == "/" entry
}
NR == FNR && (/^#/ || /^$/) { next }
NR == FNR && /^- / { old[count] = substr($0, 3); next }
NR == FNR && /^\+ / { new[count] = substr($0, 3); next }
NR == FNR { count++; file[count] = $1; name[count] = $2; next }
{ text = text $0 "\n" }
END {
    if (failed)
        exit 1
    cuda = FILENAME ~ /\/kernels\/cuda\//
    for (i = 1; i <= count; i++) {
        if (!named(file[i]))
            continue
        # a kernel; else a function, which begins at the first column
        from = cuda ? match(text, "__global__[^;{]*[ *]" name[i] "\\([^;{}]*\\)\n?[{]") : 0
        if (!from)
            from = match(text, "\n[a-z_][^;{}]*[ *]" name[i] "\\([^;{}]*\\)\n?[{]")
        if (!from)
            fail(FILENAME ": no function " name[i])
        body = substr(text, from)
        length_of = index(body, "\n}\n")
        body = substr(body, 1, length_of)
        at = index(body, old[i])
        if (!at || index(substr(body, at + length(old[i])), old[i]))
            fail(FILENAME ": `" old[i] "` does not stand once in " name[i])
        text = substr(text, 1, from + at - 2) "(mu_mutant == " i " ? (" new[i] ") : (" old[i] "))" \
            substr(text, from + at - 1 + length(old[i]))
    }
    if (cuda) { # a source or a header of one
        print "#ifndef MU_MUTANT\n#define MU_MUTANT\n#include <stdlib.h>"
        print "static const int mu_mutant = getenv(\"MUTANT\") ? atoi(getenv(\"MUTANT\")) : 0;\n#endif"
    } else {
        print "extern int mu_mutant;"
    }
    printf "%s", text
}
