# awk -v n=N -f text.awk: N conversations of an invented support desk as JSON Lines, always the same ones:
# {"messages": [{"role": ..., "content": ...}, ...]}, which `muster prepare --chat` reads.
function pick(list,   a, m) {
    seed = (seed * 16807) % 2147483647
    m = split(list, a, "|")
    return a[1 + int(seed / 65536) % m]
}
function turn(role, text) { return "{\"role\": \"" role "\", \"content\": \"" text "\"}" }
BEGIN {
    seed = 31
    for (i = 1; i <= n; i++) {
        thing = pick("parcel|invoice|password|refund|account|order")
        split(pick("late:It is on its way and arrives tomorrow.|wrong:I am sorry. I send you a new one today.|lost:I " \
                   "have found it and send it again.|locked:I have opened it for you."), what, ":")
        print "{\"messages\": [" turn("user", pick("Hello, |Good morning, |Please help, |Hi, ") "my " thing " is " what[1] ".") ", " \
            turn("assistant", "What is the number of your " thing "?") ", " \
            turn("user", "It is " (1 + int(seed / 65536) % 9) (seed % 10) "0.") ", " turn("assistant", "Thank you. " what[2]) "]}"
    }
}
