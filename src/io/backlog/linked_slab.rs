//! Rows of items in one piece of memory, which grows to the most items that ever lay in it at once and stays.
//!
//! A row is a list of places; all rows of a shelf share its places. So a thousand rows cost a thousand small values, whatever
//! each of them once held, and nothing is allocated in the steady state.

/// No place.
const NONE: u32 = u32::MAX;

/// Items in rows.
pub(super) struct LinkedSlab<T> {
    places: Vec<SlabNode<T>>,
    free: Vec<u32>,
}

struct SlabNode<T> {
    item: Option<T>,
    before: u32,
    behind: u32,
}

/// One row of a shelf. It means nothing to another shelf.
#[derive(Copy, Clone, Debug)]
pub(super) struct ListHead {
    first: u32,
    last: u32,
}

impl ListHead {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }
}

impl<T> LinkedSlab<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// How many places there are, taken and free: the bound of the numbers that [`at`](Self::at) takes.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// The item in this place, if there is one.
    pub(super) fn at(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize).and_then(|place| place.item.as_ref())
    }

    pub(super) fn at_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize).and_then(|place| place.item.as_mut())
    }

    /// Puts an item at the end of the row.
    pub(super) fn append(&mut self, row: &mut ListHead, item: T) {
        let place = SlabNode { item: Some(item), before: row.last, behind: NONE };
        let number = match self.free.pop() {
            Some(number) => {
                self.places[number as usize] = place;
                number
            }
            None => {
                self.places.push(place);
                self.places.len() as u32 - 1
            }
        };
        match row.last {
            NONE => row.first = number,
            last => self.places[last as usize].behind = number,
        }
        row.last = number;
    }

    /// Takes the item in this place out of its row.
    pub(super) fn take(&mut self, row: &mut ListHead, number: u32) -> Option<T> {
        let place = self.places.get_mut(number as usize)?;
        let item = place.item.take()?;
        let (before, behind) = (place.before, place.behind);
        match before {
            NONE => row.first = behind,
            _ => self.places[before as usize].behind = behind,
        }
        match behind {
            NONE => row.last = before,
            _ => self.places[behind as usize].before = before,
        }
        self.free.push(number);
        Some(item)
    }

    /// Takes the first item of the row.
    pub(super) fn take_first(&mut self, row: &mut ListHead) -> Option<T> {
        self.take(row, row.first)
    }

    /// All items, in no order.
    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|place| place.item)
    }

    /// The places of the row, the last one first.
    pub(super) fn backwards(&self, row: ListHead) -> impl Iterator<Item = u32> {
        let place = |number: u32| (number != NONE).then_some(number);
        std::iter::successors(place(row.last), move |&number| place(self.places[number as usize].before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_keep_their_order_and_their_items() {
        let mut shelf = LinkedSlab::new();
        let mut rows = [ListHead::EMPTY; 2];
        for n in 0..10 {
            shelf.append(&mut rows[n % 2], n);
        }
        assert_eq!(
            shelf.backwards(rows[1]).filter_map(|place| shelf.at(place)).collect::<Vec<_>>(),
            [&9, &7, &5, &3, &1]
        );
        assert_eq!(shelf.take(&mut rows[0], 4), Some(4));
        assert_eq!(shelf.take(&mut rows[0], 4), None);
        let left: Vec<_> = std::iter::from_fn(|| shelf.take_first(&mut rows[0])).collect();
        assert_eq!(left, [0, 2, 6, 8]);
        assert!(rows[0].is_empty() && !rows[1].is_empty());
    }

    proptest! {
        #[test]
        fn a_shelf_is_a_set_of_queues(steps in prop::collection::vec((0_usize..3, any::<bool>()), 0..200)) {
            let mut shelf = LinkedSlab::new();
            let mut rows = [ListHead::EMPTY; 3];
            let mut model: [std::collections::VecDeque<usize>; 3] = Default::default();
            let mut most = 0;
            for (n, (row, add)) in steps.into_iter().enumerate() {
                if add {
                    shelf.append(&mut rows[row], n);
                    model[row].push_back(n);
                } else {
                    prop_assert_eq!(shelf.take_first(&mut rows[row]), model[row].pop_front());
                }
                most = most.max(model.iter().map(std::collections::VecDeque::len).sum());
            }
            prop_assert_eq!(shelf.places() as usize, most);
        }
    }
}
