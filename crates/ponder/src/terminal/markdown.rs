//! Markdown made readable while it streams.
//!
//! Text is passed on as it comes; only what cannot be judged yet is held back: the first
//! characters of a line, until its kind is known, and a `**` or `` ` `` span, until it is closed
//! or its line ends. So nothing is ever taken back from the screen. Headings, bold, code spans
//! and fences are styled; lists, tables, formulas and everything else stay as the model wrote
//! them.

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const TITLE: &str = "\x1b[1;4m";
const CODE: &str = "\x1b[36m";

/// Turns Markdown into text with terminal styles, piece by piece.
#[derive(Debug)]
pub struct Markdown {
    place: Place,
    /// The code fence that is open: its character and length.
    fence: Option<(char, usize)>,
    /// Start of a line whose kind is not known yet.
    line: String,
    /// Style of the line around spans: that of a heading, or nothing.
    base: &'static str,
    /// A run of `*` or `` ` `` whose end has not been seen yet.
    run: String,
    /// An opened span, waiting for its end.
    span: Option<Span>,
    /// The character before the one at hand, on the same line.
    before: Option<char>,
}

/// Where in a line the next character falls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    LineStart,
    /// Text with spans.
    Inline,
    /// Code or a table: passed on as it is.
    Verbatim,
}

#[derive(Debug)]
struct Span {
    mark: String,
    text: String,
}

/// What the start of a line says about it.
enum Kind {
    /// More characters are needed.
    Unknown,
    Inline,
    Verbatim,
    /// A heading of this level, whose text starts at this byte.
    Heading(usize, usize),
    /// A list item, whose text starts at this byte.
    Item(usize),
}

impl Markdown {
    /// At the start of a text.
    pub fn new() -> Self {
        Self {
            place: Place::LineStart,
            fence: None,
            line: String::new(),
            base: "",
            run: String::new(),
            span: None,
            before: None,
        }
    }

    /// Takes the next piece of the text and appends to `out` what can be shown of it.
    pub fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.feed(c, out);
        }
    }

    /// Appends what was held back: the text ends here.
    pub fn finish(&mut self, out: &mut String) {
        self.end_line(out);
        self.fence = None;
    }

    fn feed(&mut self, c: char, out: &mut String) {
        if c == '\n' {
            self.end_line(out);
            out.push('\n');
            return;
        }
        match self.place {
            Place::LineStart => {
                self.line.push(c);
                self.judge(out);
            }
            Place::Verbatim => out.push(c),
            Place::Inline => self.inline(c, out),
        }
    }

    /// Passes on the held start of a line as soon as its kind is known.
    fn judge(&mut self, out: &mut String) {
        let (place, shown) = match self.kind() {
            Kind::Unknown => return,
            Kind::Inline => (Place::Inline, 0),
            Kind::Verbatim => (Place::Verbatim, 0),
            Kind::Heading(level, text) => {
                self.base = if level <= 2 { TITLE } else { BOLD };
                out.push_str(self.base);
                (Place::Inline, text)
            }
            Kind::Item(text) => {
                out.push_str(&self.line[..text]);
                (Place::Inline, text)
            }
        };
        self.place = place;
        let line = std::mem::take(&mut self.line);
        self.push(&line[shown..], out);
    }

    fn kind(&self) -> Kind {
        let text = self.line.trim_start_matches([' ', '\t']);
        let indent = self.line.len() - text.len();
        let Some(first) = text.chars().next() else { return Kind::Unknown };
        let run = text.len() - text.trim_start_matches(first).len();
        let after = text[run..].chars().next();
        if let Some((mark, length)) = self.fence {
            // Only the whole line tells whether this closes the fence.
            let may_close = first == mark
                && (after.is_none() || run >= length && text[run..].trim().is_empty());
            return if may_close { Kind::Unknown } else { Kind::Verbatim };
        }
        match (first, after) {
            ('#' | '`' | '~' | '-' | '*' | '+', None) => Kind::Unknown,
            ('#', Some(' ')) if run <= 6 => {
                let title = text[run..].trim_start();
                if title.is_empty() {
                    Kind::Unknown
                } else {
                    Kind::Heading(run, indent + text.len() - title.len())
                }
            }
            // The info string may not contain a backtick; so wait for the end of the line.
            ('`' | '~', Some(_)) if run >= 3 => Kind::Unknown,
            ('-' | '*' | '+', Some(' ')) if run == 1 => Kind::Item(indent + 2),
            ('|', _) => Kind::Verbatim,
            _ => Kind::Inline,
        }
    }

    /// Settles everything held back at the end of a line.
    fn end_line(&mut self, out: &mut String) {
        if self.place == Place::LineStart && !self.line.is_empty() {
            self.end_unknown_line(out);
        }
        if self.place == Place::Inline {
            self.settle_run(None, out);
            if let Some(span) = self.span.take() {
                out.push_str(&span.mark);
                out.push_str(&span.text);
            }
            if !self.base.is_empty() {
                out.push_str(RESET);
                self.base = "";
            }
        }
        self.before = None;
        self.place = Place::LineStart;
    }

    /// A line that ended before its kind was clear: a fence, or just a few odd characters.
    fn end_unknown_line(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_start();
        let mark = text.chars().next().unwrap_or(' ');
        let run = text.len() - text.trim_start_matches(mark).len();
        let is_fence = match self.fence {
            Some((open, length)) => mark == open && run >= length,
            None => run >= 3 && (mark == '~' || mark == '`' && !text[run..].contains('`')),
        };
        if is_fence {
            self.fence = if self.fence.is_some() { None } else { Some((mark, run)) };
            styled(out, DIM, &line, "");
        } else if self.fence.is_some() {
            out.push_str(&line);
        } else {
            self.place = Place::Inline;
            self.push(&line, out);
        }
    }

    fn inline(&mut self, c: char, out: &mut String) {
        let continues = self.run.starts_with(c);
        if !self.run.is_empty() && !continues {
            self.settle_run(Some(c), out);
        }
        let escaped = self.before == Some('\\');
        let marks = match &self.span {
            // Inside a span only its own mark matters.
            Some(span) => span.mark.starts_with(c),
            None => !escaped && (c == '`' || c == '*'),
        };
        if marks || continues {
            self.run.push(c);
        } else {
            match &mut self.span {
                Some(span) => span.text.push(c),
                None => out.push(c),
            }
            // A backslash that is itself escaped escapes nothing.
            self.before = if escaped && c == '\\' { Some(' ') } else { Some(c) };
        }
    }

    /// Decides what the finished run of marks is, `next` being the character behind it.
    fn settle_run(&mut self, next: Option<char>, out: &mut String) {
        if self.run.is_empty() {
            return;
        }
        let run = std::mem::take(&mut self.run);
        let is_code = run.starts_with('`');
        match self.span.take() {
            Some(span) if closes(&span, &run) => {
                if is_code {
                    styled(out, CODE, code_text(&span.text), self.base);
                } else {
                    bold(out, &span.text, self.base);
                }
            }
            Some(mut span) => {
                span.text.push_str(&run);
                self.span = Some(span);
            }
            None if is_code && next.is_some() || opens_bold(self.before, &run, next) => {
                self.span = Some(Span { mark: run.clone(), text: String::new() });
            }
            None => out.push_str(&run),
        }
        self.before = run.chars().last();
    }
}

/// Whether a run of `*` begins bold text and is not a power or a product.
fn opens_bold(before: Option<char>, run: &str, next: Option<char>) -> bool {
    (run == "**" || run == "***")
        && next.is_some_and(|c| !c.is_whitespace())
        && !before.is_some_and(|c| c.is_ascii_alphanumeric())
}

fn closes(span: &Span, run: &str) -> bool {
    let ends_in_space = span.text.ends_with(char::is_whitespace);
    span.mark == run && !span.text.is_empty() && (run.starts_with('`') || !ends_in_space)
}

/// The text of a code span without the padding that sets off inner backticks.
fn code_text(text: &str) -> &str {
    let inner = text.strip_prefix(' ').and_then(|text| text.strip_suffix(' '));
    inner.filter(|text| !text.trim().is_empty()).unwrap_or(text)
}

/// Bold text, in which code spans are still code.
fn bold(out: &mut String, text: &str, base: &str) {
    out.push_str(BOLD);
    for (i, part) in text.split('`').enumerate() {
        let closed = i % 2 == 1 && text.matches('`').count() > i;
        match (i % 2 == 1, closed) {
            (true, true) => styled(out, CODE, part, BOLD),
            (true, false) => {
                out.push('`');
                out.push_str(part);
            }
            (false, _) => out.push_str(part),
        }
    }
    out.push_str(RESET);
    out.push_str(base);
}

fn styled(out: &mut String, style: &str, text: &str, base: &str) {
    out.push_str(style);
    out.push_str(text);
    out.push_str(RESET);
    out.push_str(base);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Styles written as tags, so that expectations can be read.
    fn render(pieces: &[&str]) -> String {
        let (mut markdown, mut out) = (Markdown::new(), String::new());
        for piece in pieces {
            markdown.push(piece, &mut out);
        }
        markdown.finish(&mut out);
        [(RESET, "</>"), (BOLD, "<b>"), (DIM, "<dim>"), (TITLE, "<h>"), (CODE, "<code>")]
            .iter()
            .fold(out, |out, (code, tag)| out.replace(code, tag))
    }

    #[test]
    fn blocks() {
        for (text, want) in [
            ("# Title\ntext", "<h>Title</>\ntext"),
            ("### **Step** 1\n", "<b><b>Step</><b> 1</>\n"),
            ("####### seven", "####### seven"),
            ("#hash", "#hash"),
            ("#", "#"),
            ("- one\n* two\n  + three\n", "- one\n* two\n  + three\n"),
            ("* **a**: b", "* <b>a</>: b"),
            ("1. **a**", "1. <b>a</>"),
            ("| **a** | `b` |\n|---|---|", "| **a** | `b` |\n|---|---|"),
            ("---\n***\n", "---\n***\n"),
            (
                "```py\na = b ** c ** d # x\n```\nok",
                "<dim>```py</>\na = b ** c ** d # x\n<dim>```</>\nok",
            ),
            ("````\n```\n**a**\n`````", "<dim>````</>\n```\n**a**\n<dim>`````</>"),
            ("   ```\n  # a\n   ```  \nb", "<dim>   ```</>\n  # a\n<dim>   ```  </>\nb"),
            ("~~~\n```\n~~~", "<dim>~~~</>\n```\n<dim>~~~</>"),
            ("```a``` b", "<code>a</> b"),
            ("```\nnever closed", "<dim>```</>\nnever closed"),
        ] {
            assert_eq!(render(&[text]), want, "{text:?}");
        }
    }

    #[test]
    fn spans() {
        for (text, want) in [
            ("a **b c** d", "a <b>b c</> d"),
            ("***b***", "<b>b</>"),
            ("`a`, `` b`c ``.", "<code>a</>, <code>b`c</>."),
            ("**use `x` now**", "<b>use <code>x</><b> now</>"),
            ("**a `b**", "<b>a `b</>"),
            ("2 ** 3 and 2**3**4", "2 ** 3 and 2**3**4"),
            ("a * b * c, *d*", "a * b * c, *d*"),
            ("**open\n**b**", "**open\n<b>b</>"),
            ("`open\nx`", "`open\nx`"),
            ("\\*\\*a\\*\\* \\\\`b`", "\\*\\*a\\*\\* \\\\<code>b</>"),
            ("这是**重点**内容", "这是<b>重点</>内容"),
            ("`**`", "<code>**</>"),
            ("**a*b**", "<b>a*b</>"),
            ("end **", "end **"),
            ("**", "**"),
        ] {
            assert_eq!(render(&[text]), want, "{text:?}");
        }
    }

    #[test]
    fn plain_text_is_not_held_back() {
        let (mut markdown, mut out) = (Markdown::new(), String::new());
        markdown.push("The answer", &mut out);
        assert_eq!(out, "The answer");
        markdown.push(" is **fo", &mut out);
        assert_eq!(out, "The answer is ");
        markdown.push("ur**.", &mut out);
        assert_eq!(out, format!("The answer is {BOLD}four{RESET}."));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a`*#~|\\-\\\\ \n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(render(&pieces), render(&[&text]));
        }

        #[test]
        fn no_text_is_lost_and_no_style_left_open(text in "[ab`*# ~\n]{0,60}") {
            let got = render(&[&text]);
            let letters = |s: &str| s.chars().filter(|c| "ab".contains(*c)).collect::<String>();
            let plain = ["<b>", "</>", "<h>", "<dim>", "<code>"].iter()
                .fold(got.clone(), |s, tag| s.replace(tag, ""));
            prop_assert_eq!(letters(&plain), letters(&text));
            prop_assert_eq!(plain.matches('\n').count(), text.matches('\n').count());
            for line in got.lines() {
                let open = line.rfind("</>").map_or(line, |i| &line[i + 3..]);
                prop_assert!(!open.contains('<') , "{}", got);
            }
        }
    }
}
