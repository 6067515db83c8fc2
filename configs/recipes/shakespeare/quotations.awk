# What Webster's dictionary (Debian package dict-gcide) quotes of Shakespeare: lines far to the right that end in
# "--Shak.", a document each.
function end_of_quotation() {
    if (text != "" && text !~ /--/)
        print text
    text = ""
}
!/^         / { text = ""; next }
{
    ours = sub(/ *--Shak\.[ ]*$/, "")
    sub(/^ +/, "")
    if ($0 != "")
        text = text $0 "\n"
    if (ours)
        end_of_quotation()
}
