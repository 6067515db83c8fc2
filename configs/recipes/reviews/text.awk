# awk -v kind=train|test -v n=N -f text.awk: N invented reviews with their labels as JSON Lines, always the same ones.
# train: {"text", "label"}; test: what `muster eval --labelled` reads.
function pick(list,   a, m) {
    seed = (seed * 16807) % 2147483647
    m = split(list, a, "|")
    return a[1 + int(seed / 65536) % m]
}
BEGIN {
    seed = kind == "test" ? 5 : 71
    for (i = 1; i <= n; i++) {
        good = pick("0|1")
        word = good ? "great|friendly|lovely|fresh|excellent" : "awful|rude|dirty|stale|terrible"
        text = pick("The food|The service|Our waiter|The room|The coffee") " was " pick(word) " and " \
            pick("the place|the soup|the bill|the staff|the music") " was " pick(word) ". " \
            pick("We went on a monday.|It was our first visit.|My friend was there too.|We paid by card.")
        if (kind == "test")
            print "{\"prompt\": \"" text " Sentiment:\", \"choices\": [\"negative\", \"positive\"], \"answer\": " good "}"
        else
            print "{\"text\": \"" text "\", \"label\": \"" (good ? "positive" : "negative") "\"}"
    }
}
