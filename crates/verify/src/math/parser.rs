//! Tokens to a [`Node`].

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};

use super::lexer::Token;
use super::node::{Constant, Function, Node, Relation};

/// Brackets, fractions and so on within one another.
const MAX_DEPTH: usize = 48;
/// Digits of a number, and decimals of one with an exponent.
const MAX_DIGITS: usize = 1000;

/// Reads all tokens; `None` if they are no formula from the first to the last.
pub(crate) fn parse(tokens: &[Token]) -> Option<Node> {
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0 };
    let node = parser.list()?;
    parser.spaces();
    // A sentence's point.
    if parser.peek() == Some(&Token::Sign('.')) {
        parser.at += 1;
    }
    parser.spaces();
    (parser.at == tokens.len()).then_some(node)
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
    /// How many `|` are open.
    bars: usize,
}

fn letter(name: &str) -> Node {
    match name {
        "e" => Node::Constant(Constant::E),
        "i" => Node::Constant(Constant::I),
        name => Node::Variable(name.to_owned()),
    }
}

fn boxed(node: Node) -> Box<Node> {
    Box::new(node)
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    /// The next token that is no space.
    fn next_solid(&mut self) -> Option<&'t Token> {
        self.spaces();
        self.peek()
    }

    fn spaces(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &Token) -> bool {
        let there = self.next_solid() == Some(token);
        self.at += usize::from(there);
        there
    }

    fn sign(&mut self, sign: char) -> bool {
        self.eat(&Token::Sign(sign))
    }

    fn command(&mut self, name: &str) -> bool {
        let there = matches!(self.next_solid(), Some(Token::Command(c)) if c == name);
        self.at += usize::from(there);
        there
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let there = matches!(self.next_solid(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(there);
        there
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// Items with commas between them; a single item is itself.
    fn list(&mut self) -> Option<Node> {
        self.deeper(|parser| {
            let mut items = vec![parser.item()?];
            let mut either = false;
            loop {
                let comma = parser.sign(',') || parser.sign(';');
                let word = parser.eat_word("and");
                let or = !word && parser.eat_word("or");
                either |= or;
                if !comma && !word && !or {
                    break;
                }
                items.push(parser.item()?);
            }
            Some(match items.len() {
                1 => items.remove(0),
                _ if either && items.iter().all(|item| matches!(item, Node::Relation(..))) => {
                    Node::Union(items)
                }
                _ => Node::List(items),
            })
        })
    }

    /// A relation, and what is said behind it.
    fn item(&mut self) -> Option<Node> {
        let node = self.relation()?;
        Some(match self.unit() {
            Some(unit) => match node {
                Node::Relation(mut sides, relations) => {
                    let last = sides.pop()?;
                    sides.push(Node::Measured(boxed(last), unit));
                    Node::Relation(sides, relations)
                }
                node => Node::Measured(boxed(node), unit),
            },
            None => node,
        })
    }

    /// Words behind a quantity, with the powers and strokes that units have.
    fn unit(&mut self) -> Option<String> {
        let mut unit = String::new();
        loop {
            let piece = match self.next_solid() {
                Some(Token::Word(word)) if word == "and" || word == "or" => None,
                Some(Token::Word(word) | Token::Name(word)) => Some(word.clone()),
                Some(Token::Letter(letter)) if !unit.is_empty() => Some(letter.clone()),
                Some(Token::Number(digits)) if unit.ends_with('^') => Some(digits.clone()),
                Some(Token::Sign(c @ ('^' | '/' | '{' | '}' | '(' | ')' | '.')))
                    if !unit.is_empty() && (*c != ')' || unit.contains('(')) =>
                {
                    Some(c.to_string())
                }
                _ => None,
            };
            let Some(piece) = piece else { break };
            self.at += 1;
            let glued = unit.is_empty() || unit.ends_with('^') || piece == "^";
            if !glued {
                unit.push(' ');
            }
            unit += &piece;
        }
        (!unit.is_empty()).then_some(unit)
    }

    fn relation(&mut self) -> Option<Node> {
        let first = self.union()?;
        if matches!(first, Node::Variable(_)) && self.command("in") {
            // `x ∈ [1, 2]` says `[1, 2]`.
            return self.union();
        }
        let (mut sides, mut relations) = (vec![first], Vec::new());
        while let Some(relation) = self.relation_sign() {
            relations.push(relation);
            sides.push(self.union()?);
        }
        Some(if relations.is_empty() { sides.remove(0) } else { Node::Relation(sides, relations) })
    }

    fn relation_sign(&mut self) -> Option<Relation> {
        let relation = match self.next_solid()? {
            Token::Sign('=') => Relation::Equal,
            Token::Sign('<') => Relation::Less,
            Token::Sign('>') => Relation::Greater,
            Token::Command(name) => match &**name {
                "le" => Relation::LessEqual,
                "ge" => Relation::GreaterEqual,
                "ne" => Relation::NotEqual,
                _ => return None,
            },
            _ => return None,
        };
        self.at += 1;
        // `<=` and `==`
        let more = self.peek() == Some(&Token::Sign('='));
        self.at += usize::from(more);
        Some(match (relation, more) {
            (Relation::Less, true) => Relation::LessEqual,
            (Relation::Greater, true) => Relation::GreaterEqual,
            (relation, _) => relation,
        })
    }

    fn union(&mut self) -> Option<Node> {
        let mut parts = vec![self.sum()?];
        while self.command("cup") {
            parts.push(self.sum()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Node::Union(parts) })
    }

    fn sum(&mut self) -> Option<Node> {
        self.deeper(|parser| {
            let mut terms = Vec::new();
            let first = match parser.next_solid()? {
                Token::Sign('+') => {
                    parser.at += 1;
                    parser.product()?
                }
                Token::Sign('-') => {
                    parser.at += 1;
                    Node::Negative(boxed(parser.product()?))
                }
                Token::Command(name) if name == "pm" || name == "mp" => {
                    parser.at += 1;
                    Node::PlusMinus(boxed(Node::whole(0)), boxed(parser.product()?), name == "pm")
                }
                _ => parser.product()?,
            };
            terms.push(first);
            loop {
                match parser.next_solid() {
                    Some(Token::Sign('+')) => {
                        parser.at += 1;
                        terms.push(parser.product()?);
                    }
                    Some(Token::Sign('-')) => {
                        parser.at += 1;
                        terms.push(Node::Negative(boxed(parser.product()?)));
                    }
                    Some(Token::Command(name)) if name == "pm" || name == "mp" => {
                        parser.at += 1;
                        let so_far = sum_of(std::mem::take(&mut terms));
                        let term = parser.product()?;
                        terms.push(Node::PlusMinus(boxed(so_far), boxed(term), name == "pm"));
                    }
                    _ => return Some(sum_of(terms)),
                }
            }
        })
    }

    fn product(&mut self) -> Option<Node> {
        let mut product = self.factor()?;
        loop {
            match self.next_solid() {
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    product = times(product, self.signed_factor()?);
                }
                Some(Token::Sign('/')) => {
                    self.at += 1;
                    product = Node::Quotient(boxed(product), boxed(self.signed_factor()?));
                }
                _ if self.begins_factor() => product = times(product, self.factor()?),
                _ => return Some(product),
            }
        }
    }

    fn signed_factor(&mut self) -> Option<Node> {
        if self.sign('-') {
            return Some(Node::Negative(boxed(self.factor()?)));
        }
        self.factor()
    }

    /// Whether what follows is multiplied with what came, without a sign for it.
    fn begins_factor(&mut self) -> bool {
        match self.next_solid() {
            Some(Token::Letter(_) | Token::Name(_)) => true,
            // Two numbers side by side are no product.
            Some(Token::Number(_)) => !matches!(
                self.tokens.get(self.at.wrapping_sub(1)),
                Some(Token::Space | Token::Number(_))
            ),
            Some(Token::Sign('(' | '{')) => true,
            Some(Token::Sign('|')) => self.bars == 0,
            Some(Token::Command(name)) => {
                matches!(&**name, "frac" | "sqrt" | "binom" | "lfloor" | "lceil" | "infty")
                    || is_letter(name)
            }
            _ => false,
        }
    }

    fn factor(&mut self) -> Option<Node> {
        let mut base = self.base()?;
        loop {
            base = match self.peek() {
                Some(Token::Sign('!')) => {
                    self.at += 1;
                    Node::Call(Function::Factorial, vec![base])
                }
                Some(Token::Sign('%')) => {
                    self.at += 1;
                    Node::Percent(boxed(base))
                }
                Some(Token::Sign('^')) => {
                    self.at += 1;
                    if self.degrees() {
                        Node::Degrees(boxed(base))
                    } else {
                        Node::Power(boxed(base), boxed(self.exponent()?))
                    }
                }
                Some(Token::Space)
                    if matches!(
                        self.tokens.get(self.at + 1),
                        Some(Token::Sign('^' | '!' | '%'))
                    ) =>
                {
                    self.at += 1;
                    continue;
                }
                _ => return Some(base),
            };
        }
    }

    fn degrees(&mut self) -> bool {
        let before = self.at;
        let braced = self.sign('{');
        if self.command("circ") && (!braced || self.sign('}')) {
            return true;
        }
        self.at = before;
        false
    }

    fn exponent(&mut self) -> Option<Node> {
        if self.sign('-') {
            return Some(Node::Negative(boxed(self.base()?)));
        }
        self.base()
    }

    fn base(&mut self) -> Option<Node> {
        self.deeper(|parser| {
            let token = parser.next_solid()?;
            parser.at += 1;
            match token {
                Token::Number(digits) => parser.number(digits),
                Token::Letter(name) => Some(parser.variable(name)),
                Token::Name(name) => parser.call(Function::named(name)?),
                Token::Currency => parser.base(),
                Token::Sign('(') => parser.bracket(false),
                Token::Sign('[') => parser.bracket(true),
                Token::Sign('{') => {
                    let inner = parser.list()?;
                    parser.sign('}').then_some(match inner {
                        Node::List(items) => Node::Set(items),
                        inner => inner,
                    })
                }
                Token::Sign('|') => {
                    parser.bars += 1;
                    let inner = parser.sum();
                    parser.bars -= 1;
                    let inner = inner?;
                    parser.sign('|').then(|| Node::Call(Function::Abs, vec![inner]))
                }
                Token::BeginMatrix => parser.matrix(),
                Token::Command(name) => parser.named(name),
                _ => None,
            }
        })
    }

    fn number(&mut self, digits: &str) -> Option<Node> {
        let number = decimal(digits)?;
        let whole = digits.bytes().all(|b| b.is_ascii_digit());
        if self.peek() == Some(&Token::Sign('_')) {
            self.at += 1;
            return Some(Node::Based(digits.to_owned(), self.subscript()?));
        }
        if whole {
            // 1½, as `1\frac{1}{2}` or `1 1/2`.
            let before = self.at;
            if let Some(part) = self.part_of_mixed() {
                return Some(Node::Sum(vec![number, part]));
            }
            self.at = before;
        }
        Some(number)
    }

    fn part_of_mixed(&mut self) -> Option<Node> {
        let spaced = self.peek() == Some(&Token::Space);
        if self.command("frac") {
            let (a, b) = self.two_arguments()?;
            let plain = |node: &Node| matches!(node, Node::Number(_, None));
            return (plain(&a) && plain(&b)).then(|| Node::Quotient(boxed(a), boxed(b)));
        }
        let (Token::Number(a), true) = (self.next_solid()?, spaced) else { return None };
        self.at += 1;
        if self.peek() != Some(&Token::Sign('/')) {
            return None;
        }
        self.at += 1;
        let Token::Number(b) = self.peek()? else { return None };
        self.at += 1;
        Some(Node::Quotient(boxed(decimal(a)?), boxed(decimal(b)?)))
    }

    fn variable(&mut self, name: &str) -> Node {
        if self.peek() == Some(&Token::Sign('_')) {
            let before = self.at;
            self.at += 1;
            if let Some(subscript) = self.subscript() {
                return Node::Variable(format!("{name}_{subscript}"));
            }
            self.at = before;
        }
        letter(name)
    }

    fn subscript(&mut self) -> Option<String> {
        let one = |token: &Token| match token {
            Token::Number(text) | Token::Letter(text) | Token::Word(text) => Some(text.clone()),
            _ => None,
        };
        if !self.sign('{') {
            let text = one(self.peek()?)?;
            self.at += 1;
            return Some(text);
        }
        let mut text = String::new();
        while !self.sign('}') {
            text += &one(self.next_solid()?)?;
            self.at += 1;
        }
        (!text.is_empty()).then_some(text)
    }

    /// What a command like `\frac` takes: a group, or a single sign.
    fn argument(&mut self) -> Option<Node> {
        match self.next_solid()? {
            Token::Sign('{') => {
                self.at += 1;
                let inner = self.list()?;
                self.sign('}').then_some(inner)
            }
            _ => self.base(),
        }
    }

    /// The two arguments of a fraction: `\frac12` has two of one digit.
    fn two_arguments(&mut self) -> Option<(Node, Node)> {
        if let Some(Token::Number(digits)) = self.next_solid()
            && digits.len() >= 2
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            self.at += 1;
            let (a, b) = digits.split_at(1);
            return Some((decimal(a)?, decimal(b)?));
        }
        Some((self.argument()?, self.argument()?))
    }

    fn named(&mut self, name: &str) -> Option<Node> {
        match name {
            "frac" => {
                let (a, b) = self.two_arguments()?;
                Some(Node::Quotient(boxed(a), boxed(b)))
            }
            "binom" => {
                let (a, b) = self.two_arguments()?;
                Some(Node::Call(Function::Binomial, vec![a, b]))
            }
            "lfloor" => {
                let inner = self.sum()?;
                self.command("rfloor").then(|| Node::Call(Function::Floor, vec![inner]))
            }
            "lceil" => {
                let inner = self.sum()?;
                self.command("rceil").then(|| Node::Call(Function::Ceiling, vec![inner]))
            }
            "pi" => Some(Node::Constant(Constant::Pi)),
            "infty" => Some(Node::infinity()),
            "emptyset" => Some(Node::Set(Vec::new())),
            "{" => {
                if self.command("}") {
                    return Some(Node::Set(Vec::new()));
                }
                let inner = self.list()?;
                self.command("}").then_some(match inner {
                    Node::List(items) => Node::Set(items),
                    one => Node::Set(vec![one]),
                })
            }
            name if is_letter(name) => Some(self.variable(name)),
            _ => None,
        }
    }

    fn call(&mut self, mut function: Function) -> Option<Node> {
        if function == Function::Sqrt {
            let index = match self.peek() {
                Some(Token::Sign('[')) => {
                    self.at += 1;
                    let index = self.sum()?;
                    self.sign(']').then_some(())?;
                    Some(index)
                }
                _ => None,
            };
            let radicand = self.argument()?;
            return Some(match index {
                Some(index) => Node::Call(Function::Root, vec![index, radicand]),
                None => Node::Call(Function::Sqrt, vec![radicand]),
            });
        }
        let mut base = None;
        if self.peek() == Some(&Token::Sign('_')) {
            self.at += 1;
            base = Some(self.argument()?);
        }
        let mut power = None;
        if self.peek() == Some(&Token::Sign('^')) {
            self.at += 1;
            match (self.exponent()?, function.inverse()) {
                (Node::Negative(one), Some(inverse)) if *one == Node::whole(1) => {
                    function = inverse;
                }
                (exponent, _) => power = Some(exponent),
            }
        }
        let argument = match self.next_solid()? {
            Token::Sign('(' | '{' | '[') => self.base()?,
            _ => self.plain_argument()?,
        };
        let call = match (function, base) {
            (Function::Log10 | Function::Ln, Some(base)) => {
                Node::Call(Function::Log, vec![base, argument])
            }
            (_, Some(_)) => return None,
            (function, None) => Node::Call(function, vec![argument]),
        };
        Some(match power {
            Some(power) => Node::Power(boxed(call), boxed(power)),
            None => call,
        })
    }

    /// The factors behind a function's name, up to the next function.
    fn plain_argument(&mut self) -> Option<Node> {
        let mut product = self.signed_factor()?;
        while self.begins_factor()
            && !matches!(self.peek(), Some(Token::Name(_) | Token::Sign('(')))
        {
            product = times(product, self.factor()?);
        }
        Some(product)
    }

    fn bracket(&mut self, opens_square: bool) -> Option<Node> {
        let bars = std::mem::take(&mut self.bars);
        let inner = self.list();
        self.bars = bars;
        let inner = inner?;
        let closes_square = match self.next_solid()? {
            Token::Sign(')') => false,
            Token::Sign(']') => true,
            _ => return None,
        };
        self.at += 1;
        let square = (opens_square, closes_square);
        Some(match inner {
            Node::List(items) => Node::Bracket { square, items },
            inner => inner,
        })
    }

    fn matrix(&mut self) -> Option<Node> {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        loop {
            if self.eat(&Token::EndMatrix) {
                break;
            }
            row.push(self.sum()?);
            if self.sign('&') {
                continue;
            }
            if self.eat(&Token::Row) {
                rows.push(std::mem::take(&mut row));
                continue;
            }
            self.eat(&Token::EndMatrix).then_some(())?;
            break;
        }
        if !row.is_empty() {
            rows.push(row);
        }
        let even = rows.iter().all(|row: &Vec<Node>| row.len() == rows[0].len());
        (!rows.is_empty() && even).then_some(Node::Matrix(rows))
    }
}

fn is_letter(name: &str) -> bool {
    matches!(
        name,
        "pi" | "alpha"
            | "beta"
            | "gamma"
            | "delta"
            | "epsilon"
            | "varepsilon"
            | "theta"
            | "lambda"
            | "mu"
            | "rho"
            | "sigma"
            | "tau"
            | "phi"
            | "varphi"
            | "omega"
            | "xi"
            | "eta"
            | "zeta"
            | "kappa"
            | "psi"
            | "chi"
            | "nu"
            | "Delta"
            | "Gamma"
            | "Theta"
            | "Omega"
            | "Sigma"
            | "Phi"
            | "ell"
    )
}

fn sum_of(mut terms: Vec<Node>) -> Node {
    if terms.len() == 1 { terms.remove(0) } else { Node::Sum(terms) }
}

fn times(a: Node, b: Node) -> Node {
    match a {
        Node::Product(mut factors) => {
            factors.push(b);
            Node::Product(factors)
        }
        a => Node::Product(vec![a, b]),
    }
}

/// `12`, `0.5`, `.5` and `1.5e-3`, exactly.
fn decimal(text: &str) -> Option<Node> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + part.len() > MAX_DIGITS || exponent.unsigned_abs() as usize > MAX_DIGITS {
        return None;
    }
    let digits: BigInt = format!("0{whole}{part}").parse().ok()?;
    let mut number = BigRational::from_integer(digits);
    let ten = BigInt::from(10);
    let shift = exponent - part.len() as i32;
    let power = BigRational::from_integer(ten.pow(shift.unsigned_abs()));
    number = if shift < 0 { number / power } else { number * power };
    debug_assert!(!number.denom().is_one() || number.is_integer());
    let decimals = mantissa.contains('.').then_some(part.len());
    Some(Node::Number(number, decimals))
}
