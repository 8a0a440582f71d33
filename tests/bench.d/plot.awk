# Draws docs/benchmarks.svg from the lines that tests/bench writes: 'bar NAME MICROSECONDS' and 'line NAME SIZE
# MICROSECONDS'. Both scales of time are logarithmic.
function x_of_bar(us) { return 190 + 105 * (log(us < 10 ? 10 : us) - log(10)) / log(10) }
function x_of(size) { return 60 + 150 * (log(size) - log(100)) / log(10) }
function y_of(us) { return 520 - 42 * (log(us) - log(100)) / log(10) }
function text(x, y, what, more) { printf "<text x=\"%d\" y=\"%d\"%s>%s</text>\n", x, y, more, what }
BEGIN {
    label["messages"] = "its changes alone"; label["symroute"] = "symroute hook"; label["batch"] = "ip -batch"
    label["article"] = "ip commands in sh"; label["multi"] = "ifupdown-multi"
    label["lines"] = "split into lines"; label["generate"] = "symroute-gen"; label["plan"] = "symroute plan"
    label["ifquery"] = "ifquery (ifupdown)"; label["ifparse"] = "ifparse (ifupdown-ng)"; label["ifquery2"] = "ifquery (ifupdown2)"
    split("#777777 #1a7f37 #0969da #9a6700 #cf222e #8250df", color, " ")
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 560\" font-family=\"sans-serif\" font-size=\"13\">"
    print "<rect width=\"720\" height=\"560\" fill=\"#ffffff\"/>"
    text(20, 25, "One uplink up and down: processor time above that of two empty programs", " font-weight=\"bold\"")
    text(20, 235, "Interfaces files: time by the number of stanzas", " font-weight=\"bold\"")
    for (us = 10; us <= 100000; us *= 10) {
        printf "<path d=\"M%d 40V190\" stroke=\"#dddddd\"/>\n", x_of_bar(us)
        text(x_of_bar(us), 205, us / 1000 " ms", " text-anchor=\"middle\" font-size=\"11\"")
    }
    for (us = 100; us <= 100000000; us *= 10) {
        printf "<path d=\"M60 %dH510\" stroke=\"#dddddd\"/>\n", y_of(us)
        text(55, y_of(us) + 4, (us < 1000000 ? us / 1000 " ms" : us / 1000000 " s"), " text-anchor=\"end\" font-size=\"11\"")
    }
    for (size = 100; size <= 100000; size *= 10) text(x_of(size), 540, size, " text-anchor=\"middle\" font-size=\"11\"")
}
$1 == "bar" {
    y = 42 + 30 * bars++
    printf "<rect x=\"190\" y=\"%d\" width=\"%d\" height=\"20\" fill=\"%s\"/>\n", y, x_of_bar($3) - 190, $2 == "symroute" ? "#1a7f37" : "#8c959f"
    text(180, y + 15, label[$2], " text-anchor=\"end\"")
    text(x_of_bar($3) + 5, y + 15, sprintf("%.3g ms", $3 / 1000))
}
$1 == "line" {
    if (!($2 in path)) order[++names] = $2
    path[$2] = path[$2] (path[$2] == "" ? "M" : "L") int(x_of($3)) " " int(y_of($4))
    end_x[$2] = x_of($3); end_y[$2] = y_of($4)
}
END {
    for (n = 1; n <= names; n++) {
        name = order[n]
        printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", path[name], color[n]
        printf "<circle cx=\"%d\" cy=\"%d\" r=\"3\" fill=\"%s\"/>\n", end_x[name], end_y[name], color[n]
        text(550, 300 + 20 * n, label[name], " fill=\"" color[n] "\"")
    }
    print "</svg>"
}
