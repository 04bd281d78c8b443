//! What an answer is, once it is read.

use num_bigint::BigInt;
use num_rational::BigRational;

/// A formula, or a collection of formulas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A number, and how many digits stood behind its point, if it had one.
    Number(BigRational, Option<usize>),
    /// Digits in a base other than ten, as in `1011_2`.
    Based(String, String),
    /// π, e, i, ∞.
    Constant(Constant),
    /// A letter, with its subscript.
    Variable(String),
    Negative(Box<Node>),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    Quotient(Box<Node>, Box<Node>),
    Power(Box<Node>, Box<Node>),
    /// A function of its arguments.
    Call(Function, Vec<Node>),
    /// Sum and difference, as `a ± b`.
    PlusMinus(Box<Node>, Box<Node>, bool),
    Percent(Box<Node>),
    Degrees(Box<Node>),
    /// A quantity and the words behind it.
    Measured(Box<Node>, String),
    /// In brackets, each end round or square: a point, or an interval.
    Bracket {
        square: (bool, bool),
        items: Vec<Node>,
    },
    /// In braces: the order doesn't matter.
    Set(Vec<Node>),
    /// One after the other, without brackets.
    List(Vec<Node>),
    Union(Vec<Node>),
    Matrix(Vec<Vec<Node>>),
    /// Sides and what stands between them.
    Relation(Vec<Node>, Vec<Relation>),
    /// Words that are no formula, in small letters.
    Words(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    /// The same, read from right to left.
    pub(crate) fn turned(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessEqual => Relation::GreaterEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterEqual => Relation::LessEqual,
            same => same,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sqrt,
    /// Of index and radicand.
    Root,
    Ln,
    Log10,
    /// Of base and argument.
    Log,
    Exp,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    Binomial,
}

impl Function {
    /// By its name in LaTeX or in plain text.
    pub(crate) fn named(name: &str) -> Option<Function> {
        Some(match name {
            "sqrt" => Function::Sqrt,
            "ln" => Function::Ln,
            "log" | "lg" => Function::Log10,
            "exp" => Function::Exp,
            "sin" => Function::Sin,
            "cos" => Function::Cos,
            "tan" | "tg" => Function::Tan,
            "cot" | "ctg" => Function::Cot,
            "sec" => Function::Sec,
            "csc" => Function::Csc,
            "arcsin" | "asin" => Function::Asin,
            "arccos" | "acos" => Function::Acos,
            "arctan" | "atan" => Function::Atan,
            "sinh" => Function::Sinh,
            "cosh" => Function::Cosh,
            "tanh" => Function::Tanh,
            "abs" => Function::Abs,
            "floor" => Function::Floor,
            "ceil" => Function::Ceiling,
            _ => return None,
        })
    }

    /// The function that takes its value back, for `\sin^{-1}`.
    pub(crate) fn inverse(self) -> Option<Function> {
        match self {
            Function::Sin => Some(Function::Asin),
            Function::Cos => Some(Function::Acos),
            Function::Tan => Some(Function::Atan),
            _ => None,
        }
    }
}

impl Node {
    pub(crate) fn whole(n: i64) -> Node {
        Node::Number(BigRational::from_integer(BigInt::from(n)), None)
    }

    pub(crate) fn infinity() -> Node {
        Node::Constant(Constant::Infinity)
    }

    /// Parts that are formulas or collections themselves.
    pub(crate) fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Number(..)
            | Node::Based(..)
            | Node::Constant(_)
            | Node::Variable(_)
            | Node::Words(_) => Vec::new(),
            Node::Negative(a) | Node::Percent(a) | Node::Degrees(a) | Node::Measured(a, _) => {
                vec![a]
            }
            Node::Quotient(a, b) | Node::Power(a, b) | Node::PlusMinus(a, b, _) => vec![a, b],
            Node::Sum(all)
            | Node::Product(all)
            | Node::Call(_, all)
            | Node::Set(all)
            | Node::List(all)
            | Node::Union(all)
            | Node::Relation(all, _) => all.iter().collect(),
            Node::Bracket { items, .. } => items.iter().collect(),
            Node::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// The letters in it, without repetition.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let (mut found, mut open) = (Vec::new(), vec![self]);
        while let Some(node) = open.pop() {
            match node {
                Node::Variable(name) if !found.contains(&&**name) => found.push(&**name),
                _ => open.extend(node.parts()),
            }
        }
        found.sort_unstable();
        found
    }

    /// Whether it is a formula, with a value wherever its letters have one.
    pub(crate) fn is_formula(&self) -> bool {
        let here = !matches!(
            self,
            Node::Measured(..)
                | Node::Bracket { .. }
                | Node::Set(_)
                | Node::List(_)
                | Node::Union(_)
                | Node::Matrix(_)
                | Node::Relation(..)
                | Node::Words(_)
                | Node::PlusMinus(..)
        );
        here && self.parts().iter().all(|part| part.is_formula())
    }
}
