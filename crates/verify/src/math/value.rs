//! What a formula is worth: exactly where it is rational, and to about 30 digits otherwise.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::double::{Complex, Double};
use super::node::{Constant, Function, Node};

/// Bits of a numerator or denominator, past which a number is no longer worked out exactly.
const MAX_BITS: u64 = 20_000;
/// The largest number whose factorial is worked out exactly.
const MAX_FACTORIAL: i64 = 1000;

fn small(number: BigRational) -> Option<BigRational> {
    (number.numer().bits() <= MAX_BITS && number.denom().bits() <= MAX_BITS).then_some(number)
}

/// The exact value of a formula without letters, roots that don't come out and the like.
pub(crate) fn exact(node: &Node) -> Option<BigRational> {
    let value = match node {
        Node::Number(number, _) => number.clone(),
        Node::Negative(a) => -exact(a)?,
        Node::Sum(terms) => {
            let mut sum = BigRational::zero();
            for term in terms {
                sum = small(sum + exact(term)?)?;
            }
            sum
        }
        Node::Product(factors) => {
            let mut product = BigRational::one();
            for factor in factors {
                product = small(product * exact(factor)?)?;
            }
            product
        }
        Node::Quotient(a, b) => {
            let (a, b) = (exact(a)?, exact(b)?);
            (!b.is_zero()).then(|| a / b)?
        }
        Node::Percent(a) => exact(a)? / BigRational::from_integer(BigInt::from(100)),
        Node::Power(a, b) => power(&exact(a)?, &exact(b)?)?,
        Node::Call(function, arguments) => call(*function, arguments)?,
        _ => return None,
    };
    small(value)
}

fn call(function: Function, arguments: &[Node]) -> Option<BigRational> {
    let half = BigRational::new(BigInt::one(), BigInt::from(2));
    let first = exact(arguments.first()?)?;
    Some(match function {
        Function::Sqrt => power(&first, &half)?,
        Function::Root if !first.is_zero() => power(&exact(&arguments[1])?, &first.recip())?,
        Function::Abs => first.abs(),
        Function::Floor => first.floor(),
        Function::Ceiling => first.ceil(),
        Function::Factorial => {
            let n = first.is_integer().then(|| first.to_i64())??;
            (0..=MAX_FACTORIAL).contains(&n).then_some(())?;
            BigRational::from_integer((1..=n).map(BigInt::from).product())
        }
        Function::Binomial => {
            let second = exact(&arguments[1])?;
            (first.is_integer() && second.is_integer()).then_some(())?;
            let (n, k) = (first.to_i64()?, second.to_i64()?);
            if k < 0 || k > n {
                return Some(BigRational::zero());
            }
            let k = k.min(n - k);
            (k <= MAX_FACTORIAL).then_some(())?;
            let mut product = BigRational::one();
            for i in 0..k {
                let factor = BigRational::new(BigInt::from(n - i), BigInt::from(i + 1));
                product = small(product * factor)?;
            }
            product
        }
        _ => return None,
    })
}

/// A power that is rational, if it is.
fn power(base: &BigRational, exponent: &BigRational) -> Option<BigRational> {
    let n = exponent.numer().to_i32()?;
    let q = exponent.denom().to_u32()?;
    let bits = base.numer().bits().max(base.denom().bits());
    if bits.saturating_mul(u64::from(n.unsigned_abs())) > MAX_BITS || q > 64 {
        return None;
    }
    if base.is_zero() {
        return (n > 0).then(BigRational::zero);
    }
    let mut root = base.clone();
    if q > 1 {
        // The principal root of a negative number is not real.
        (!base.is_negative()).then_some(())?;
        root = BigRational::new(base.numer().nth_root(q), base.denom().nth_root(q));
        (&Pow::pow(&root, q as i32) == base).then_some(())?;
    }
    Some(Pow::pow(&root, n))
}

/// A rational number as near as 31 digits come.
fn double(number: &BigRational) -> Double {
    let high = number.to_f64().unwrap_or(f64::NAN);
    let low = BigRational::from_float(high).and_then(|high| (number - high).to_f64());
    Double(high, low.unwrap_or(0.0))
}

/// The value of a formula, its letters being worth what `letters` says.
pub(crate) fn approximate(node: &Node, letters: &dyn Fn(&str) -> Complex) -> Option<Complex> {
    let value = |node: &Node| approximate(node, letters);
    Some(match node {
        Node::Number(number, _) => Complex::real(double(number)),
        Node::Constant(Constant::Pi) => Complex::real(Double::PI),
        Node::Constant(Constant::E) => Complex::real(Double::ONE.exp()),
        Node::Constant(Constant::I) => Complex::I,
        Node::Variable(name) => letters(name),
        Node::Negative(a) => -value(a)?,
        Node::Sum(terms) => {
            let mut sum = Complex::ZERO;
            for term in terms {
                sum = sum + value(term)?;
            }
            sum
        }
        Node::Product(factors) => {
            let mut product = Complex::ONE;
            for factor in factors {
                product = product * value(factor)?;
            }
            product
        }
        Node::Quotient(a, b) => value(a)? / value(b)?,
        Node::Power(a, b) => value(a)?.pow(value(b)?),
        Node::Percent(a) => value(a)? / Complex::number(100.0),
        Node::Degrees(a) => value(a)? * Complex::real(Double::PI / Double::from(180.0)),
        Node::Call(Function::Factorial | Function::Binomial, _) => {
            Complex::real(double(&exact(node)?))
        }
        Node::Call(function, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(value(argument)?);
            }
            apply(*function, &values)?
        }
        _ => return None,
    })
}

fn apply(function: Function, arguments: &[Complex]) -> Option<Complex> {
    let x = *arguments.first()?;
    let one = Complex::ONE;
    let half = Complex::number(0.5);
    Some(match function {
        Function::Sqrt => x.sqrt(),
        Function::Root => {
            let radicand = *arguments.get(1)?;
            let odd = x.is_real() && x.re.0.rem_euclid(2.0) == 1.0;
            // The real root of a negative number, where there is one, as `\sqrt[3]{-8}` is meant.
            match odd && radicand.is_real() && radicand.re.0 < 0.0 {
                true => -(-radicand).pow(one / x),
                false => radicand.pow(one / x),
            }
        }
        Function::Ln => x.ln(),
        Function::Log10 => x.log10(),
        Function::Log => arguments.get(1)?.ln() / x.ln(),
        Function::Exp => x.exp(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.sin() / x.cos(),
        Function::Cot => x.cos() / x.sin(),
        Function::Sec => one / x.cos(),
        Function::Csc => one / x.sin(),
        Function::Asin => x.asin(),
        Function::Acos => Complex::real(Double::PI) * half - x.asin(),
        Function::Atan => x.atan(),
        Function::Sinh => (x.exp() - (-x).exp()) * half,
        Function::Cosh => (x.exp() + (-x).exp()) * half,
        Function::Tanh => (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        Function::Abs => Complex::real(x.abs()),
        Function::Floor if x.is_real() => Complex::real(x.re.floor()),
        Function::Ceiling if x.is_real() => Complex::real(-(-x.re).floor()),
        Function::Floor | Function::Ceiling | Function::Factorial | Function::Binomial => {
            return None;
        }
    })
}
