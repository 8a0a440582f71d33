# Reports words that this project does not use: awk [-v comments=1] -f tests/words.awk tests/words FILE...
# tests/words has a regular expression and its replacement in each line. Code blocks and quoted code are not checked.
# In Rust files the strings before the module of tests are checked, and with comments=1 every comment.
BEGIN { FS = "\t" }
FNR == NR { instead[$1] = $2; next }
FNR == 1 { code = string = ended = 0 }
/^#\[cfg\(test\)\]/ { ended = 1 }
FILENAME ~ /\.rs$/ {
	split_rust($0)
	if (comment ~ /^[\/!]? *```/) code = !code
	if (comments && !code) report(comment)
	if (!ended) report(strings)
	next
}
/^ *```/ { code = !code }
!code { report($0) }
END { exit found }

# Sets 'strings' and 'comment' to the text of a line that is in strings and in a comment.
function split_rust(line, token) {
	strings = comment = ""
	while (line != "") {
		if (string) {
			if (escapes) match(line, /^([^"\\]|\\.)*/)
			else RLENGTH = index(line, end) ? index(line, end) - 1 : length(line)
			strings = strings " " substr(line, 1, RLENGTH)
			line = substr(line, RLENGTH + 1)
			if (index(line, end) != 1) return
			line = substr(line, length(end) + 1)
			string = 0
			continue
		}
		if (!match(line, /r#*"|"|'"'|'\\"'|\/\//)) return
		token = substr(line, RSTART, RLENGTH)
		line = substr(line, RSTART + RLENGTH)
		if (token == "//") {
			comment = line
			return
		}
		string = token !~ /^'/
		escapes = token == "\""
		end = token
		gsub(/[r"]/, "", end)
		end = "\"" end
	}
}

function report(text, word) {
	gsub(/`[^`]*`|[a-z-]+\.md|\/[a-z.@_-]+\/[^ "]*|\\[nrt]/, " ", text)
	text = tolower(text)
	gsub(/[^a-z0-9'-]+/, " ", text)
	text = " " text " "
	for (word in instead) if (text ~ (" (" word ") ")) {
		match(text, " (" word ") ")
		print FILENAME ":" FNR ": '" substr(text, RSTART + 1, RLENGTH - 2) "': write " instead[word]
		found = 1
	}
}
