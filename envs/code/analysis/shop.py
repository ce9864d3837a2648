"""A shop's orders: prices in two units, times on five clocks, corrected rows."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from random import Random

from ludus.envs.code.analysis.answers import Form
from ludus.envs.code.analysis.dirt import Dirt
from ludus.envs.code.analysis.world import Kind, Tables, World, best, delimited, sqlite

CATEGORIES = {
    "home": ("lamp", "rug", "mirror", "clock"),
    "garden": ("spade", "hose", "bench", "lantern"),
    "kitchen": ("kettle", "pan", "knife", "bowl"),
}
COUNTRIES = ("Austria", "Belgium", "Denmark", "Estonia", "France", "Greece")
MONTHS = {"March 2024": 3, "April 2024": 4, "May 2024": 5}
FIRST = datetime(2024, 3, 1)
DAYS = 92
MONEY = Form("decimal", Fraction(1, 100))

DICTIONARY = """\
orders.csv, separated by semicolons: order_id; customer_id; placed_at; product; quantity; price
shop.sqlite: customers (customer_id, country, updated), products (product, category)
- Upper and lower case and whitespace around ids and names mean nothing: " c007" is C007.
- An order_id may occur more than once, since orders are corrected: the last of its rows counts, whole.
- placed_at has the offset of the clock that wrote it. Days and months are meant in UTC.
- quantity is missing where it is empty, NA, n/a or ?. Such an order has no revenue, but it is an order.
- price, for one piece, is in euros with a decimal point or a decimal comma, or in cents where it ends in ct.
- A customer may stand in customers more than once: the row with the highest updated counts.
Revenue is quantity times price, in euros."""


@dataclass(frozen=True)
class Order:
    customer: str
    placed: datetime
    """In UTC."""
    product: str
    quantity: int | None
    cents: int

    @property
    def revenue(self) -> int:
        """In cents."""
        return (self.quantity or 0) * self.cents


@dataclass(frozen=True)
class Shop:
    orders: tuple[Order, ...]
    country: dict[str, str]
    """The country of each customer."""


def draw(rng: Random, rows: int) -> Tables:
    dirt = Dirt(rng)
    category = {product: name for name, products in CATEGORIES.items() for product in products}
    products = list(category)
    customers = [f"C{number:03d}" for number in range(1, max(20, rows // 5) + 1)]
    country = {customer: rng.choice(COUNTRIES) for customer in customers}
    orders = tuple(
        Order(
            rng.choice(customers),
            FIRST + timedelta(minutes=rng.randrange(DAYS * 24 * 60)),
            rng.choice(products),
            None if dirt.chance(0.08) else rng.randint(1, 9),
            rng.randint(150, 9900),
        )
        for _ in range(rows)
    )
    lines, corrections = [], []
    for number, order in enumerate(orders, 1001):
        line = [
            dirt.label(f"O{number}"),
            dirt.label(order.customer),
            dirt.stamp(order.placed),
            dirt.label(order.product),
            dirt.missing() if order.quantity is None else str(order.quantity),
            dirt.money(order.cents),
        ]
        if dirt.chance(0.1):
            corrections.append(line)
            wrong = dirt.stamp(order.placed + timedelta(days=1))
            line = [f"O{number}", line[1], wrong, line[3], str(rng.randint(10, 40)), dirt.money(order.cents)]
        lines.append(line)
    known = [
        (customer, dirt.label(country[customer]), 20240101 + rng.randrange(28)) for customer in customers
    ]
    outdated = [
        (customer, rng.choice(COUNTRIES), 20230101 + rng.randrange(28))
        for customer in rng.sample(customers, 8)
    ]
    mixed = rng.sample(known + outdated, len(known) + len(outdated))
    header = ("order_id", "customer_id", "placed_at", "product", "quantity", "price")
    files = {
        "orders.csv": delimited(header, lines + corrections, ";"),
        "shop.sqlite": sqlite(
            {
                "customers (customer_id TEXT, country TEXT, updated INTEGER)": mixed,
                "products (product TEXT, category TEXT)": [*category.items()],
            }
        ),
    }
    return Tables(files, Shop(orders, country))


def revenue(shop: Shop, country: str, month: str) -> Fraction:
    return Fraction(
        sum(
            order.revenue
            for order in shop.orders
            if shop.country[order.customer] == country and order.placed.month == MONTHS[month]
        ),
        100,
    )


def best_product(shop: Shop, country: str) -> str:
    totals = Counter({product: 0 for products in CATEGORIES.values() for product in products})
    for order in shop.orders:
        if shop.country[order.customer] == country:
            totals[order.product] += order.revenue
    return best(totals)[0]


def busiest_day(shop: Shop, month: str) -> date:
    counts = Counter(order.placed.date() for order in shop.orders if order.placed.month == MONTHS[month])
    return min(counts, key=lambda day: (-counts[day], day))


def idle_customers(shop: Shop, month: str) -> int:
    active = {order.customer for order in shop.orders if order.placed.month == MONTHS[month]}
    return len(shop.country) - len(active)


def top_customers(shop: Shop, category: str) -> tuple[str, ...]:
    totals: Counter[str] = Counter(dict.fromkeys(shop.country, 0))
    for order in shop.orders:
        if order.product in CATEGORIES[category]:
            totals[order.customer] += order.revenue
    return tuple(best(totals)[:3])


SHOP = World(
    "shop",
    DICTIONARY,
    "shop.sqlite",
    draw,
    (
        Kind(
            "shop/revenue",
            "What revenue came from orders placed in {month} by customers from {country}?",
            MONEY,
            {"country": COUNTRIES, "month": tuple(MONTHS)},
            revenue,
        ),
        Kind(
            "shop/best-product",
            "Which product had the most revenue from customers from {country}? Of several, the first in the "
            "alphabet.",
            Form("text"),
            {"country": COUNTRIES},
            best_product,
        ),
        Kind(
            "shop/busiest-day",
            "On which day of {month} were the most orders placed? Of several, the earliest.",
            Form("date"),
            {"month": tuple(MONTHS)},
            busiest_day,
        ),
        Kind(
            "shop/idle-customers",
            "How many customers of the table customers placed no order in {month}?",
            Form("integer"),
            {"month": tuple(MONTHS)},
            idle_customers,
        ),
        Kind(
            "shop/top-customers",
            "Which three customers (by id) had the most revenue in the category {category}, the one with the "
            "most first? Of several with the same, the lower id first.",
            Form("list"),
            {"category": tuple(CATEGORIES)},
            top_customers,
        ),
    ),
)
