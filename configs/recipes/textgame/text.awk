# awk -v kind=dialogues|actions|quests -v n=N -f text.awk: N lines of an invented game, always the same ones. dialogues
# are columns (id, category, topic, content) separated by tabs, as a game's editor exports them.
function pick(list,   a, m) {
    seed = (seed * 16807) % 2147483647
    m = split(list, a, "|")
    return a[1 + int(seed / 65536) % m]
}
function who() { return pick("the smith|the old guard|a pilgrim|the innkeeper|a hunter|the captain|a monk|the miller") }
function where() { return pick("the northern gate|the ruined tower|the harbour|the silver mine|the old bridge|the deep forest") }
function thing() { return pick("a rusty key|the silver ring|an old map|a torn letter|the black stone|a sealed chest") }
function act() { return pick("found|lost|hid|sold|stole|buried") " " thing() " near " where() }
function line() {
    if (kind == "dialogues")
        return pick("Stranger, |Listen. |Be careful: |They say that |I have heard that ") who() " " act() "."
    if (kind == "quests")
        return pick("Find|Bring back|Protect|Search for") " " thing() " and speak with " who() " at " where() "."
    return "You " pick("walk to|hide behind|look around at|run towards") " " where() ", where " who() " " act() "."
}
BEGIN {
    seed = kind == "dialogues" ? 11 : kind == "quests" ? 23 : 47
    if (kind == "dialogues")
        print "id\tcategory\ttopic\tcontent"
    for (i = 1; i <= n; i++)
        print (kind == "dialogues" ? i "\ttalk\t" pick("rumour|greeting|latest") "\t" : "") line()
}
